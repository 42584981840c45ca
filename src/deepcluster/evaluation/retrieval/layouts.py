"""Reads a folder as a retrieval set, in any of the known layouts. Next: sets.py."""

from pathlib import Path

from deepcluster.evaluation.retrieval.oxford import oxford_set
from deepcluster.evaluation.retrieval.revisited import ground_truths, revisited_set
from deepcluster.evaluation.retrieval.sets import RetrievalSet, plain_set


def retrieval_set(
    root: str, layout: str, *, reference: str, queries: list[str] | None, ground_truth: str | None
) -> RetrievalSet:
    """Read the set in a folder.

    Args:
        root: the folder.
        layout: "plain", "oxford", "revisited", or "auto": recognised by its files.
        reference, queries: plain layout: the folders of the database and of the queries, see :func:`plain_set`.
        ground_truth: revisited layout: the file's name in the folder; None: the only gnd_*.pkl or gnd_*.json.

    Raises:
        FileNotFoundError: if the folder or a part of it is missing.
        ValueError: if the parts do not fit together.
    """
    folder = Path(root)
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
    recognised = [layout for layout, has_its_files in signs.items() if has_its_files]
    if len(recognised) != 1:
        what = f"looks like {' and '.join(recognised)}" if recognised else "is in no known layout"
        raise ValueError(
            f"evaluation.root={root} {what}: plain has a folder {reference}/ (evaluation.reference) and folders of "
            "queries, oxford has jpg/ and *_query.txt, revisited has jpg/ and gnd_*.pkl or .json; choose with "
            "evaluation.layout=plain|oxford|revisited"
        )
    return recognised[0]
