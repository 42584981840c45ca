"""How gradient ascent goes: steps, start and regularisation. Next: ascent.py climbs."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Recipe:
    """How the ascent goes.

    Args:
        n_steps: steps.
        lr: length of a step: of the whole image's change (`by_rms` false), or root of the mean squared change of a
            pixel, which means the same at every size.
        by_rms: see lr.
        weight_decay: of the squared length of the image, in the objective.
        start_mean, start_std: of the normal noise to start from, as the network sees it.
        blur_sigma, blur_every: Gaussian blur, pixels, after steps 0, blur_every, 2 blur_every ...; 0: none.
        jitter: the image is shifted by up to this share of its side at each step, another way each time.
        low_first: a step's spectrum is divided by the frequency, because natural images fall off as 1/f.
        as_2018: noise and pixels go into the network unnormalised and unbounded, a silent channel is climbed before
            BatchNorm, and the picture's contrast is stretched.
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


# original: visu/gradient_ascent.py. The noise around 128 goes into the network as it is, although the network learned
# from normalised images, which lie between about -2 and 2: hence "official", not the default.
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
# Ours: weak noise around the mean colour, where the network is at home. Shifts and 1/f are the two regularisers of
# Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017), who parametrise by 1/f; with them
# no blur is needed, which takes away the fine patterns that small networks look for.
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
