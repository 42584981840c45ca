"""Seeds: which generator is seeded, and by what."""

import pytest
import torch

from deepcluster.system.seeding import mix, seed_device


def test_other_parts_or_another_order_give_another_seed() -> None:
    seeds = {mix(1, 2), mix(2, 1), mix(12), mix("1", 2), mix(1, "2"), mix(1, 2, 0)}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("device", ["cpu", "meta"])  # meta: any device that is neither a CPU nor CUDA
def test_the_cpu_draws_as_after_manual_seed(device: str) -> None:
    seed = mix("all 63 bits")
    torch.manual_seed(seed)
    expected = torch.rand(5)
    seed_device(torch.device(device), seed)
    assert torch.equal(torch.rand(5), expected)


def test_of_several_gpus_the_one_that_is_asked_for_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for CUDA's generators, which the CPU has not; the test below is of those themselves."""
    monkeypatch.setattr(torch.cuda, "default_generators", [torch.Generator() for _ in range(3)])
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    for generator in torch.cuda.default_generators:
        generator.manual_seed(0)
    torch.manual_seed(0)
    seed_device(torch.device("cuda:2"), 22)
    seed_device(torch.device("cuda"), 11)
    assert [generator.initial_seed() for generator in torch.cuda.default_generators] == [0, 11, 22]
    assert torch.initial_seed() == 11


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_draws_as_after_manual_seed() -> None:
    torch.manual_seed(5)
    expected = torch.rand(9, device="cuda"), torch.rand(9)
    torch.manual_seed(6)
    seed_device(torch.device("cuda"), 5)
    assert torch.equal(torch.rand(9, device="cuda"), expected[0]) and torch.equal(torch.rand(9), expected[1])
