"""Short words of the command `deepcluster`, each for some settings of train or eval: `page RUN`, `sort RUN OUT`.

The one table of them: app/words.py reads what is typed by it, and `command` writes commands to paste by it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepcluster.system.program import is_command, program
from deepcluster.system.quoting import override


@dataclass(frozen=True, kw_only=True)
class Place:
    """A word that stands at its place, without KEY=.

    Args:
        name: as the help calls it. RUN is a run, a bundle or a file of weights; DIR a folder of images; others are new.
        key: the setting whose value it is.
        needed: whether it may be left out.
        adds: settings that go with it.
    """

    name: str
    key: str
    needed: bool = True
    adds: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Word:
    """A short word.

    Args:
        job: "train" or "eval".
        settings: what it stands for besides its places.
        places: in their order.
        help: what it does, in a line.
        more: further forms and what they do.
    """

    job: str
    settings: tuple[str, ...] = ()
    places: tuple[Place, ...]
    help: str
    more: tuple[tuple[str, str], ...] = ()

    @property
    def option(self) -> str | None:
        """The evaluation, as in evaluation=OPTION; None: it is none."""
        return next((s.partition("=")[2] for s in self.settings if s.startswith("evaluation=")), None)

    @property
    def usage(self) -> str:
        """Its places, as in RUN [DIR]."""
        return " ".join(place.name if place.needed else f"[{place.name}]" for place in self.places)


RUN = Place(name="RUN", key="ckpt")
NEW_IMAGES = Place(name="DIR", key="data.root", adds=("data=folder",))
MORE_IMAGES = Place(name="DIR", key="data.root")
WORDS = {
    "page": Word(
        job="eval",
        settings=("evaluation=page",),
        places=(RUN,),
        help="look: the clusters of a run as a page for the browser",
        more=(("split=test", "of the test images"), ("data=folder data.root=DIR", "of other images")),
    ),
    "sort": Word(
        job="eval",
        settings=("evaluation=sort",),
        places=(RUN, Place(name="OUT", key="evaluation.out")),
        help="the pictures in a folder for each cluster: tells what it would do; do=true does it",
        more=(
            ("do=true", "links; nothing is ever overwritten"),
            ("mode=copy do=true", "copies; mode=move moves the pictures themselves"),
            ("undo=true", "undoes it, by OUT/sorted.csv"),
            ("names=FILE", "folders are called as the CSV file says (cluster, name), in place of RUN/names.csv"),
        ),
    ),
    "merge": Word(
        job="eval",
        settings=("evaluation=merge",),
        places=(RUN,),
        help="fewer groups of the same clusters: k=12 joins them to 12 by a tree",
        more=(("k=12", "into 12 groups"), ("k=12 data=folder data.root=DIR", "of other images")),
    ),
    "assign": Word(
        job="eval",
        settings=("evaluation=assign",),
        places=(RUN, NEW_IMAGES),
        help="the clusters of new images, without training; what the run has seen is not read again",
    ),
    "bundle": Word(
        job="eval",
        settings=("evaluation=bundle",),
        places=(RUN, Place(name="OUT", key="evaluation.out")),
        help="one folder that assigns and embeds new images without the run, also by ONNX",
        more=(("license=mit", "the licence that its card tells"), ("names=FILE", "in place of RUN/names.csv")),
    ),
    "more": Word(
        job="train",
        places=(Place(name="RUN", key="follows"), MORE_IMAGES),
        help="train on with more images (DIR: all of them, old and new), and say what changed",
        more=(("clustering.k=K", "with room for new groups"), ("trainer.max_epochs=N", "as long as you like")),
    ),
    "embed": Word(
        job="eval",
        settings=("evaluation=embed",),
        places=(RUN, Place(name="DIR", key="data.root", needed=False, adds=("data=folder",))),
        help="the network's features as embeddings.npy, of the run's images or of others",
        more=(("split=test", "of the test images"), ("format=parquet", "as embeddings.parquet, with their names")),
    ),
}


def command(word: str, *values: str | Path, further: Sequence[str] = (), **settings: str) -> str:
    """What to paste into a shell: `deepcluster page RUN`, or the same by the script that was called.

    Args:
        word: one of `WORDS`.
        values: of its places.
        further: settings by their full keys, as Hydra reads them.
        settings: of its evaluation, without `evaluation.`, plain words.
    """
    meaning = WORDS[word]
    if is_command():
        own = [f"{key}={value}" for key, value in settings.items()]
        return shlex.join(["deepcluster", word, *map(str, values), *own, *further])
    typed = [
        setting
        for place, value in zip(meaning.places, values, strict=False)
        for setting in (*place.adds, override(place.key, str(value)))
    ]
    words = [*typed[:1], *meaning.settings, *typed[1:], *(f"evaluation.{k}={v}" for k, v in settings.items()), *further]
    return f"{program(meaning.job)} {shlex.join(words)}"
