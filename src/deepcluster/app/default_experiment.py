"""What `python train.py` runs where no word says what: the recipe for small images, which the first run shows.

command_line.py asks for it before Hydra composes. It is a word that is added, and no default of configs/train.yaml:
the papers' methods, modes and experiments stand on what train.yaml lists, to the bit.
"""

from deepcluster.app.mistyped import keys_of

DEFAULT = "small_images"
WORD, LOOP_OF_2018 = f"experiment={DEFAULT}", "method=deepcluster"
SAY_WHAT = ("experiment", "method", "mode", "data", "sweep", "resume", "follows")
OTHER_CONFIGS = ("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun")
TOLD = (
    f"experiment {DEFAULT}, as the command names no other, no method, mode or data; "
    f"the loop of 2018 with LeNet: {LOOP_OF_2018}"
)
# Ends an error about words that the loop of 2018 takes.
SETS_MORE = (
    f"What you did not type comes from {WORD}, which runs where no other is named; the loop of 2018 takes your words: "
    f"{LOOP_OF_2018} in its place"
)


def default_experiment(words: list[str]) -> list[str]:
    """The word to add to the typed words of `train`; none if one of them says what to run."""
    return [] if keys_of(words) & {*SAY_WHAT, *OTHER_CONFIGS} else [WORD]
