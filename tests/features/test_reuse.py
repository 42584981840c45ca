"""Features of the untrained network, computed once: the same numbers, and never another network's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import tiny

from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import FileImages
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Arrays, Folder
from deepcluster.data.view_settings import View
from deepcluster.features.reuse import UntrainedFeatures, same_images
from deepcluster.training import clusterer as clusterer_module
from deepcluster.training.clusterer import Clusterer

CPU = torch.device("cpu")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each pass over the images."""
    made: list[int] = []
    plain = clusterer_module.reduced_features

    def counted(*args: object, **kwargs: object) -> object:
        made.append(1)
        return plain(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(clusterer_module, "reduced_features", counted)
    return made


def clusterer(folder: Path, **settings: object) -> tuple[Clusterer, torch.nn.Module]:
    run = tiny.build(folder, **settings)  # type: ignore[arg-type]
    return run.reassign.clusterer, run.module.backbone


MOMENTS = {"untrained": True, "untrained again": True, "epoch 0": False}  # whether another clustering follows


def test_three_clusterings_of_the_untrained_network_take_one_pass_and_are_as_without(
    tmp_path: Path, passes: list[int]
) -> None:
    plain, backbone = clusterer(tmp_path / "a")
    alone = [plain.assign(backbone, device=CPU, moment=moment)[0] for moment in MOMENTS]
    assert len(passes) == 3
    reusing, backbone = clusterer(tmp_path / "b")
    reusing.untrained = UntrainedFeatures(depends_on=())
    shared = [
        reusing.assign(backbone, device=CPU, moment=name, keep_features=more)[0] for name, more in MOMENTS.items()
    ]
    assert len(passes) == 4
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one.labels, other.labels) and one.objective == other.objective
    assert not torch.equal(shared[0].labels, shared[1].labels)  # each has its own k-means seed
    assert reusing.untrained._kept is None  # and no memory is held while the network learns
    reusing.assign(backbone, device=CPU, moment="epoch 1")
    assert len(passes) == 5


def test_a_network_that_has_changed_is_looked_at_anew(tmp_path: Path, passes: list[int]) -> None:
    reusing, backbone = clusterer(tmp_path)
    reusing.untrained = UntrainedFeatures(depends_on=())
    reusing.assign(backbone, device=CPU, moment="untrained", keep_features=True)
    with torch.no_grad():
        next(backbone.parameters()).add_(0.01)
    reusing.assign(backbone, device=CPU, moment="epoch 0")
    assert len(passes) == 2


def test_a_sample_for_pca_is_drawn_for_each_clustering(tmp_path: Path, passes: list[int]) -> None:
    sampled, backbone = clusterer(tmp_path, reduction=Reduction(dim=4, fit_images=50))
    sampled.untrained = UntrainedFeatures(depends_on=())
    for moment, more in MOMENTS.items():
        sampled.assign(backbone, device=CPU, moment=moment, keep_features=more)
    assert len(passes) == 3


def test_another_job_of_the_sweep_takes_them_from_the_file_only_if_all_is_the_same(
    tmp_path: Path, passes: list[int]
) -> None:
    shared = tmp_path / "shared"

    def assign(number: int, images: str = "", dim: int = 4, limit_mb: int = 100) -> torch.Tensor:
        own, backbone = clusterer(tmp_path / str(number), reduction=Reduction(dim=dim))
        own.untrained = UntrainedFeatures(depends_on=(images,), folder=shared, limit_mb=limit_mb)
        return own.assign(backbone, device=CPU, moment="epoch 0")[0].labels

    first = assign(0)
    assert len(passes) == 1 and len(list(shared.glob("*.pt"))) == 1
    assert torch.equal(assign(1), first) and len(passes) == 1
    assign(2, dim=5)
    assign(3, images="other images")
    assert len(passes) == 3 and len(list(shared.iterdir())) == 3
    for damaged in shared.glob("*.pt"):
        damaged.write_bytes(damaged.read_bytes()[:100])  # cut short
    assert torch.equal(assign(4), first) and len(passes) == 4
    assign(5, dim=6, limit_mb=0)
    assert len(passes) == 5 and len(list(shared.iterdir())) == 3


def test_images_are_the_same_by_their_pixels_names_and_settings() -> None:
    images, data, reading, view = tiny.images(), Arrays(), Reading(), View(size=16)
    known = same_images(data, reading, view, images)
    assert known == same_images(data, Reading(num_workers=3), view, tiny.images())
    assert known != same_images(data, Reading(decode="scaled"), view, tiny.images())
    assert known != same_images(data, reading, View(size=18), images)
    images.images[3, 0, 5, 5] += 1
    assert known != same_images(data, reading, view, images)


def test_files_made_anew_under_the_same_names_are_other_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"one image")
    data, reading, view = Folder(root=str(tmp_path)), Reading(), View()
    images = FileImages(root=tmp_path, samples=["a.png", "b.png"], n_channels=1)
    known = same_images(data, reading, view, images)
    assert known == same_images(data, reading, view, images)
    (tmp_path / "b.png").write_bytes(b"another one")
    assert known != same_images(data, reading, view, images)
    table = replace(images, fingerprint="of a table that was written anew")
    assert same_images(data, reading, view, table) != same_images(data, reading, view, images)
