"""Mean and covariance of features that come in batches, without keeping the features. Next: pca.py."""

import torch
from torch import Tensor

from deepcluster.system.processor import float32_products

# Rows per float64 addition of a (D, D) matrix: with fewer, adding would take longer than the product.
ROWS_PER_PRODUCT = 2048
CHECK_ROWS = 8192


class Moments:
    """Count, mean and second moments of features that come in batches.

    Blocks of features are shifted by the first block's mean, multiplied in float32, and added up in float64. Without
    the shift, a mean far from zero would leave no digits for the variance. Blocks have a fixed number of rows, so the
    result does not depend on the batch size.

    Args:
        dim: feature dimension D.
        device: where the products are taken; the float64 sums need D * D * 8 bytes there.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        device = torch.device(device)
        self.device = torch.device("cpu") if device.type == "mps" else device  # mps has no float64
        self.dim = dim
        self._n = 0  # images in the sums
        self._n_seen = 0
        self._sum = torch.zeros(dim, dtype=torch.float64, device=self.device)
        self._outer = torch.zeros(dim, dim, dtype=torch.float64, device=self.device)
        self._shift: Tensor | None = None
        self._block = torch.empty(0, dim, device=self.device)
        self._n_block = 0  # rows of the block in use

    @property
    def n(self) -> int:
        """The number of images so far."""
        return self._n_seen

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Add features (B, D).

        Raises:
            ValueError: if the shape is wrong or a value is NaN or infinite.
        """
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"features must have shape (B, {self.dim}), got {tuple(features.shape)}")
        features = features.detach().to(self.device, torch.float32)
        check_finite(features, first_row=self._n_seen)
        self._n_seen += len(features)
        if len(self._block) == 0:
            self._block = torch.empty(ROWS_PER_PRODUCT, self.dim, device=self.device)
        while len(features) > 0:
            taken = features[: ROWS_PER_PRODUCT - self._n_block]
            self._block[self._n_block : self._n_block + len(taken)] = taken
            self._n_block += len(taken)
            features = features[len(taken) :]
            if self._n_block == ROWS_PER_PRODUCT:
                self._flush()

    def _flush(self) -> None:
        """Move the rows of the block into the sums."""
        if self._n_block == 0:
            return
        block = self._block[: self._n_block]
        if self._shift is None:
            self._shift = block.mean(dim=0, dtype=torch.float64).float()
        block = block - self._shift
        with float32_products(self.device):
            self._outer += block.T @ block
        self._sum += block.sum(dim=0, dtype=torch.float64)
        self._n += self._n_block
        self._n_block = 0

    @torch.no_grad()
    def as_sums(self) -> list[Tensor]:
        """[n (1,), sum of x (D,), sum of x x^T (D, D)], float64, to be summed over the processes.

        They are of unshifted features, as each process has a shift of its own; float64 has enough digits for that.
        """
        self._flush()
        shift = torch.zeros_like(self._sum) if self._shift is None else self._shift.double()
        cross = torch.outer(shift, self._sum)
        total = self._sum + self._n * shift
        outer = self._outer + cross + cross.T + self._n * torch.outer(shift, shift)
        return [torch.tensor([self._n], dtype=torch.float64, device=self.device), total, outer]

    @classmethod
    def from_sums(cls, sums: list[Tensor]) -> "Moments":
        """The moments whose :meth:`as_sums` are these, for example after summing over processes."""
        n, total, outer = sums
        moments = cls(len(total), total.device)
        moments._n = moments._n_seen = round(n.item())
        moments._sum, moments._outer = total.clone(), outer.clone()
        moments._shift = torch.zeros(len(total), device=total.device)
        return moments

    @torch.no_grad()
    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and unbiased covariance (D, D), float64 on the CPU.

        Raises:
            ValueError: if fewer than two images were seen.
        """
        self._flush()
        if self._n < 2:
            raise ValueError(f"a covariance needs at least 2 images, there are {self._n}")
        assert self._shift is not None
        mean = self._sum / self._n  # of the shifted features
        covariance = (self._outer - self._n * torch.outer(mean, mean)) / (self._n - 1)
        return (mean + self._shift.double()).cpu(), covariance.cpu()


def check_finite(features: Tensor, *, first_row: int = 0) -> None:
    """Refuse NaN and infinite features.

    Args:
        features: (n, D).
        first_row: number of the first row, for the message.

    Raises:
        ValueError: with the number of bad rows and the first of them.
    """
    # In blocks, because isfinite needs 7 bytes a number while it runs: nearly twice the size of the features.
    blocks = [torch.isfinite(block).all(dim=1) for block in torch.split(features, CHECK_ROWS)]
    bad = ~torch.cat(blocks)
    n_bad = int(bad.sum())
    if n_bad > 0:
        row = first_row + int(bad.int().argmax())
        raise ValueError(
            f"features hold NaN or infinite values in {n_bad} of {len(features)} rows, "
            f"the first in row {row}; did the training diverge? Lower the learning rate"
        )
