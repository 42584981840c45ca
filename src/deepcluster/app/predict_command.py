"""`deepcluster predict MODEL PICTURES`: sample, cluster, its name and the distance of each picture as CSV.

MODEL is a bundle or a run. The work: run/predict.py.
"""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEYS = ("out", "reading.on_broken")
USAGE = "deepcluster predict MODEL PICTURES [out=FILE.csv]"
HELP = f"""\
{USAGE}    the cluster of each picture, as CSV: sample, cluster, name, distance

  MODEL      a run's folder, or a bundle (deepcluster bundle RUN OUT)
  PICTURES   a folder, with all that lies below it; or any number of paths; or -: paths from standard input, one a line
             (or, as find -print0 writes them, each with a zero byte behind it)

  out=FILE.csv                   into a file, written completely or not at all; else to standard output
  reading.on_broken=skip         leaves out what cannot be decoded; else nothing is written

Names are those of names.csv (columns cluster, name) in MODEL; without it there is no such column."""


@dataclass(kw_only=True)
class Request:
    """What is asked for.

    Args:
        model: a run's folder, or a bundle.
        paths: pictures, and folders of them.
        out: the file; None: standard output.
        on_broken: the value of reading.on_broken.
    """

    model: str
    paths: list[str] = field(default_factory=list)
    out: str | None = None
    on_broken: str = "error"


def predict_from_command_line(words: list[str]) -> None:
    """Print or write the table; an error of the user ends in one line."""
    from deepcluster.app.errors import exit_with_error, user_errors

    try:
        request = request_of(words, lambda: sys.stdin.buffer.read())
        write_table(request)
    except BrokenPipeError:  # the reader has closed it, as in `deepcluster predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(141) from None
    except user_errors() as error:
        exit_with_error(error)


def request_of(words: list[str], read_input: Callable[[], bytes]) -> Request:
    """What the words ask for.

    Args:
        words: after `deepcluster predict`.
        read_input: reads all of standard input.

    Raises:
        ValueError: if the model or the pictures are missing, or a word is not possible.
    """
    from deepcluster.settings.unknown_keys import did_you_mean

    values, settings = [], dict[str, str]()
    for word in words:
        key, equals, value = word.partition("=")
        if key in KEYS and equals and not os.path.exists(word):
            settings[key] = value
        elif equals and not os.path.exists(word) and (advice := did_you_mean(key, KEYS)):
            raise ValueError(f"{word}: predict has no key {key}{advice}")
        elif word.startswith("-") and word != "-":
            raise ValueError(f"{word}: predict has no such flag; {USAGE}")
        else:
            values.append(os.path.expanduser(word))
    if len(values) < 2:
        raise ValueError(f"{'MODEL and PICTURES are' if not values else 'PICTURES are'} missing: {USAGE}")
    model, *paths = values
    on_broken = settings.get("reading.on_broken", "error")
    if on_broken not in ("error", "skip"):
        raise ValueError(f"reading.on_broken must be one of error, skip, got {on_broken!r}")
    if (out := settings.get("out")) is not None and not out.strip():
        raise ValueError("out is empty; give a file, or leave out away to print the table")
    if out is not None and os.path.isdir(os.path.expanduser(out)):
        raise ValueError(f"out={out} is a folder; name a file, as in out={os.path.join(out, 'clusters.csv')}")
    if "-" in paths:
        if len(paths) > 1:
            raise ValueError("- reads paths from standard input; give either it or paths")
        paths = paths_in(read_input())
    return Request(model=model, paths=paths, out=None if out is None else os.path.expanduser(out), on_broken=on_broken)


def paths_in(data: bytes) -> list[str]:
    """Paths in lines, or with zero bytes between them.

    Raises:
        ValueError: if there are none.
    """
    parts = data.split(b"\0") if b"\0" in data else data.splitlines()
    paths = [os.fsdecode(part) for part in parts if part.strip()]
    if not paths:
        raise ValueError("- stands for paths from standard input, one a line, and there were none")
    return paths


def write_table(request: Request) -> None:
    """Predict, and write each batch as soon as it is there.

    Raises:
        ValueError, OSError: from what the words name.
    """
    from deepcluster.system.tables import write_csv, write_csv_into

    columns, rows = table(request)
    if request.out is not None:
        write_csv(Path(request.out), columns, rows)
        print(f"predicted  {request.out}", file=sys.stderr)
        return
    sys.stdout.flush()
    write_csv_into(sys.stdout.buffer, columns, rows)
    sys.stdout.flush()


def table(request: Request) -> tuple[list[str], Iterator[list[Any]]]:
    """The columns, and the rows in the order of the pictures."""
    import logging

    from deepcluster.app.words import check_order
    from deepcluster.run.predict import context_of_pictures, names_of, predicted

    check_order("predict", [request.model, *request.paths], [])
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # hides the instruction sets it tried
    context = context_of_pictures(request.model, request.paths, on_broken=request.on_broken)
    names, samples = names_of(context), context.train_images.samples

    def rows() -> Iterator[list[Any]]:
        with context.progress.bar("predict", len(samples), "img") as advance:
            for batch in predicted(context):
                numbers = (batch.indices.tolist(), batch.clusters.tolist(), batch.distances.tolist())
                for i, cluster, distance in zip(*numbers, strict=True):
                    name = [names.get(str(cluster), "")] if names else []
                    yield [samples[i], cluster, *name, f"{distance:.5g}"]
                advance(len(batch.indices))

    return ["sample", "cluster", *(["name"] if names else []), "distance"], rows()
