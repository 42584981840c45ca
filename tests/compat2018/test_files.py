"""checkpoint.pth.tar and clusters as main.py of 2018 writes them, from a run of ours."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference.networks_2018 import alexnet_2018
from torchvision.datasets import ImageFolder

from deepcluster.clustering.history import AssignmentHistory, read_assignments
from deepcluster.compat2018 import __main__ as program
from deepcluster.compat2018.files import clusters_2018, image_folder_places, optimizer_2018
from deepcluster.compat2018.flags import Command, translate
from deepcluster.models.alexnet import AlexNet
from deepcluster.training.optimizer import SGDSettings
from deepcluster.training.optimizers import weight_groups
from deepcluster.weights import load_backbone
from deepcluster.weights.checkpoint import load_checkpoint, read_torch_file
from deepcluster.weights.recognise import read_weights

NAMES = ["b/2.png", "b/10.png", "b-x/1.png", "a/z/1.png", "a/2.png", "b/sub/0.png", "B/1.png"]


def test_an_images_number_is_its_place_in_image_folder(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    theirs = [str(Path(path).relative_to(tmp_path)) for path, _ in ImageFolder(str(tmp_path)).imgs]
    assert image_folder_places(NAMES) == [theirs.index(name) for name in NAMES]
    assert image_folder_places([f"train/{name}" for name in NAMES]) == image_folder_places(NAMES)


def test_clusters_are_lists_of_these_numbers_with_empty_ones_up_to_k() -> None:
    history = AssignmentHistory(
        samples=["b/0.png", "a/0.png", "a/1.png"],  # places 2, 0, 1
        names=["epoch_00000", "epoch_00001", "final"],
        epochs=[0, 1, 1],
        labels=np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]]),
        k=[2, 2, 1],
        objective=[0.0, 0.0, 0.0],
    )
    assert clusters_2018(history, n_lists=4) == [[[1, 2], [0], [], []], [[1], [0, 2], [], []]]
    assert clusters_2018(history, n_lists=0) == [[[1, 2], [0]], [[1], [0, 2]]]


def test_the_optimizers_state_loads_into_that_of_the_2018_network() -> None:
    """Its momenta stand at the weights of the same names, in the order of the 2018 code's parameters()."""
    torch.manual_seed(0)
    narrow = (4, 5, 6, 7, 8)
    ours, theirs = AlexNet(3, 224, narrow, 10, 10, sobel=True), alexnet_2018(sobel=True, channels=narrow, hidden=10)
    theirs.top_layer = None
    settings = SGDSettings(lr=0.05, momentum=0.9, weight_decay=1e-5)
    optimizer = settings.build(weight_groups(ours, [], torch.nn.Linear(10, 3), settings), fused=False)
    ours(torch.randn(2, 3, 224, 224)).square().sum().backward()
    optimizer.step()
    state = optimizer_2018(optimizer.state_dict())
    of_theirs = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], lr=1.0)
    of_theirs.load_state_dict(state)
    group = of_theirs.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.05, 0.9, 1e-5)
    expected = [optimizer.state[weight]["momentum_buffer"] for weight in ours.parameters()]
    found = [of_theirs.state[weight]["momentum_buffer"] for weight in group["params"]]
    assert len(found) == len(expected) == 2 * 5 + 2 * 5 + 4
    assert all(torch.equal(mine, other) for mine, other in zip(expected, found, strict=True))


N = 40


def of_few_images(words: list[str]) -> Command:
    """The flags' settings, with fewer dimensions than images, and measured by nothing."""
    command = translate(words)
    return replace(command, words=[*command.words, "reduction.dim=16", "evaluation.enabled=false"])


@pytest.mark.slow
def test_a_run_by_the_old_flags_leaves_the_old_files_and_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = np.random.default_rng(0)
    for number in range(N):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(file)
    exp = tmp_path / "exp"
    line = f"compat2018 {tmp_path / 'images'} --arch alexnet --sobel --k 6 --epochs 1 --lr .001 --batch 20 --workers 0"
    monkeypatch.setattr("sys.argv", [*line.split(), "--exp", str(exp)])
    monkeypatch.setattr(program, "translate", of_few_images)
    program.main()

    last, written = load_checkpoint(exp / "checkpoints" / "last.ckpt"), read_weights(exp / "checkpoint.pth.tar")
    assert written.format == "alexnet in the layout of the 2018 code" and written.epoch == last.epoch == 1
    assert written.head is not None and last.head is not None and torch.equal(written.head[0], last.head[0])
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        ours, theirs = (load_backbone(path)[0](images) for path in (last.path, written.path))
    assert torch.equal(ours, theirs)
    content = read_torch_file(written.path)
    assert content.keys() == {"epoch", "arch", "state_dict", "optimizer"}
    momenta = content["optimizer"]["state"]
    assert len(momenta) == 24 and momenta[0]["momentum_buffer"].shape == (96, 2, 11, 11)

    clusters = pickle.loads((exp / "clusters").read_bytes())
    history = read_assignments(exp)
    assert len(clusters) == 1 and len(clusters[0]) == 6
    order = sorted(range(N), key=lambda i: ("ab"[i % 2], f"{i}.png"))
    labels = history.of("epoch_00000")
    named = {tuple(sorted(name for name, label in labels.items() if label == c)) for c in range(6)}
    files = [f"{'ab'[i % 2]}/{i}.png" for i in order]
    assert {tuple(sorted(files[place] for place in members)) for members in clusters[0]} == named
