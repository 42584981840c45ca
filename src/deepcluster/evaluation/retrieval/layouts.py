"""A folder -> its retrieval set, whichever of the known layouts it is in. Called by search.py."""

from pathlib import Path

from deepcluster.evaluation.retrieval.oxford import oxford_set
from deepcluster.evaluation.retrieval.revisited import ground_truths, revisited_set
from deepcluster.evaluation.retrieval.sets import RetrievalSet, plain_set

LAYOUTS = ("auto", "plain", "oxford", "revisited")


def retrieval_set(
    root: str, layout: str, *, reference: str, queries: list[str] | None, ground_truth: str | None
) -> RetrievalSet:
    """The set in a folder.

    Args:
        root: the folder.
        layout: one of LAYOUTS; "auto" recognises them by their files.
        reference, queries: of the plain layout.
        ground_truth: of the revisited layout, the file's name in the folder; None: the only gnd_*.pkl or .json.

    Raises:
        FileNotFoundError: if the folder or a part of it is missing.
        ValueError: if the parts do not fit together.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"evaluation.root={folder} {what}; give the folder of a retrieval set")
    if layout == "auto":
        layout = _layout_of(folder, reference)
    if layout == "plain":
        return plain_set(folder, reference, queries)
    return oxford_set(folder) if layout == "oxford" else revisited_set(folder, ground_truth)


def _layout_of(root: Path, reference: str) -> str:
    signs = {
        "revisited": bool(ground_truths(root)),
        "oxford": any(root.rglob("*_query.txt")),
        "plain": any(entry.is_dir() and entry.name.lower() == reference.lower() for entry in root.iterdir()),
    }
    recognised = [layout for layout, sign in signs.items() if sign]
    if len(recognised) != 1:
        what = f"looks like {' and '.join(recognised)}" if recognised else "is in no layout that is known here"
        raise ValueError(
            f"evaluation.root={root} {what}: plain has a folder {reference}/ (evaluation.reference) and folders of "
            "queries, oxford jpg/ and *_query.txt, revisited jpg/ and gnd_*.pkl or .json; choose with "
            f"evaluation.layout={'|'.join(LAYOUTS[1:])}"
        )
    return recognised[0]
