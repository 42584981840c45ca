"""The memory bank, filled by hand."""

import torch

from deepcluster.clustering.reduction import Reduction
from deepcluster.features.bank import MemoryBank
from deepcluster.features.extraction import reduced_features


def test_the_bank_holds_each_images_last_embedding_by_image() -> None:
    bank = MemoryBank(4, 2, 3, dtype=torch.float32)
    first, second = torch.arange(12.0).view(2, 2, 3), 100 + torch.arange(12.0).view(2, 2, 3)
    bank.write(torch.tensor([2, 0]), first, step=0)
    bank.write(torch.tensor([2, 3]), second, step=1)
    assert torch.equal(bank.rows[1, 2], second[1, 0]) and torch.equal(bank.rows[0, 0], first[0, 1])
    assert bank.written.tolist() == [0, -1, 1, 1] and not bank.is_filled
    bank.write(torch.tensor([1]), first[:, :1], step=2)
    assert bank.is_filled


def test_its_rows_are_reduced_like_those_of_a_pass() -> None:
    bank = MemoryBank(10, 2, 3, dtype=torch.float32)
    rows = torch.randn(2, 10, 3, generator=torch.Generator().manual_seed(0))
    bank.write(torch.arange(10), rows, step=0)
    plain = Reduction(dim=None, whiten=False, l2=False)
    for view in (0, 1, 2):
        _, reduced = reduced_features(bank.view(view), 3, plain, buffer_mb=1, seed=0)
        assert reduced is not None and torch.equal(reduced, rows[view % 2])


def test_a_bank_from_a_checkpoint_goes_on_as_it_was() -> None:
    bank, resumed = MemoryBank(4, 1, 3), MemoryBank(4, 1, 3)
    bank.write(torch.tensor([1, 3]), torch.ones(1, 2, 3), step=5)
    resumed.load_state_dict(bank.state_dict())
    assert torch.equal(resumed.rows, bank.rows) and torch.equal(resumed.written, bank.written)
