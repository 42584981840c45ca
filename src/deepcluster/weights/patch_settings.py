"""Settings of init=kmeans_patches, read without importing torch. Next: patch_filters.py learns the filters."""

from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class PatchSettings:
    """How filters are learned from patches by k-means (Coates et al. 2011).

    Args:
        patch_size: side of the patches; null: the layer's kernel size, which is the only one that fits.
        n_patches: number of patches to learn from.
        n_images: the most images that patches are cut from, drawn by the seed.
        normalise: subtract each patch's mean and divide by its contrast.
        contrast: added to a patch's variance, in squared grey levels of 0..255; the patch is divided by the root.
        epsilon: added by the whitening to the variance of each direction (of normalised patches about 1 on average).
        fold: false: the centroids are the filters, as the papers show them. true: the filters include the whitening:
            they answer to plain patches as the centroids do to whitened ones, and weigh fine detail more.
        n_iter: iterations of k-means.
        start: of k-means: "images" starts from random patches; "noise" from small noise around 0, as the code of the
            2011 paper does: it takes about 50 iterations, and no outlier starts as a centroid.
        spherical: keep the centroids on the unit sphere, as in Coates and Ng 2012.
    """

    patch_size: int | None = None
    n_patches: int = setting(100_000, at_least=1)
    n_images: int = setting(10_000, at_least=1)
    normalise: bool = True
    contrast: float = setting(10.0, above=0, hint="flat patches have no variance")  # Coates et al. 2011
    epsilon: float = setting(0.1, above=0, hint="in some directions patches have no variance")  # Coates et al. 2011
    fold: bool = False
    n_iter: int = setting(10, at_least=1)  # Coates and Ng 2012: 10 iterations are usually enough
    start: str = setting("images", one_of=("images", "noise"))
    spherical: bool = False

    def __post_init__(self) -> None:
        check(self, "init")
