"""The program as it was called, for commands to paste: `python train.py ...`, or `deepcluster train ...`."""

import shlex
import sys
from pathlib import Path

SCRIPTS = ("train.py", "eval.py")


def program(job: str) -> str:
    """What starts a job of this kind where this process was started the same way.

    Args:
        job: "train" or "eval".
    """
    script = _script()
    if script is None:
        return f"deepcluster {job}"
    is_here = script.parent.resolve() == Path.cwd()
    return shlex.join(["python", f"{job}.py" if is_here else str(script.with_name(f"{job}.py"))])


def is_command() -> bool:
    """Whether the command `deepcluster`, or Python, was started, and not train.py or eval.py."""
    return _script() is None


def first_words(job: str) -> list[str]:
    """What stands between the program's file and the job's settings: the command's name, unless a script is the job."""
    return [job] if _script() is None else []


def _script() -> Path | None:
    """The train.py or eval.py that runs; None: the command `deepcluster`, or Python."""
    script = Path(sys.argv[0])
    return script if script.name in SCRIPTS else None
