"""Settings of gradient ascent: steps, start and regularisation. Next: ascent.py."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Recipe:
    """Steps, start and regularisation of an ascent.

    Args:
        n_steps: number of steps.
        lr: length of a step. With `by_rms` it is the root mean square of the pixels' changes, which does not depend on
            the image's size; without, the Euclidean length of the whole image's change.
        by_rms: see lr.
        weight_decay: factor of the image's squared length, which is subtracted from the objective.
        start_mean, start_std: of the normal noise to start from, in the values that the network gets.
        blur_sigma, blur_every: Gaussian blur, in pixels, after steps 0, blur_every, 2 blur_every ...; 0: no blur.
        jitter: each step shifts the image at random by up to this share of its side.
        low_first: divide a step's spectrum by the frequency, as the spectrum of natural images falls as 1/f.
        as_2018: noise and pixels go into the network unnormalised and without limits; for a channel that ReLU silences,
            the values before BatchNorm are raised; the picture's contrast is stretched.
    """

    n_steps: int
    lr: float
    by_rms: bool
    weight_decay: float
    start_mean: float
    start_std: float
    blur_sigma: float = 0.0
    blur_every: int = 1
    jitter: float = 0.0
    low_first: bool = False
    as_2018: bool = False


# original: visu/gradient_ascent.py. It feeds noise around 128 to a network that learned from normalised images, with
# values between about -2 and 2. Therefore it is not the default.
OFFICIAL = Recipe(
    n_steps=1000,
    lr=3.0,
    by_rms=False,
    weight_decay=1e-5,
    start_mean=128.0,
    start_std=20.0,
    blur_sigma=0.3,
    blur_every=5,
    as_2018=True,
)
# Ours: weak noise around the mean colour, as in the images that the network learned from. Shifts and 1/f are two
# regularisers of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017), who parametrise images by 1/f.
# They replace the blur, which removes the fine patterns that small networks look for.
SMOOTH = Recipe(
    n_steps=128,
    lr=0.05,
    by_rms=True,
    weight_decay=0.0,
    start_mean=0.0,
    start_std=0.3,
    jitter=1 / 16,
    low_first=True,
)
RECIPES = {"smooth": SMOOTH, "official": OFFICIAL}
