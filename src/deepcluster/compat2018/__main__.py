"""Take a command of the 2018 code, run ours in its place, and write its files beside ours.

Next: flags.py translates the flags, files.py writes the files. docs/scripts_2018.md tells what differs.
"""

import shlex
import sys

from deepcluster.app.errors import exit_with_error, user_errors
from deepcluster.app.program import run
from deepcluster.compat2018.flags import translate
from deepcluster.system import stop_signals


def main() -> None:
    """What `python -m deepcluster.compat2018` does."""
    stop_signals.end_quietly()
    sys.argv[0] = "deepcluster"  # so that advice names this command
    try:
        command = translate(sys.argv[1:])
    except user_errors() as error:
        exit_with_error(error)
    for note in command.notes:
        print(f"note: {note}", file=sys.stderr)
    if command.job is None:
        return
    print(f"deepcluster {command.job} {shlex.join(command.words)}", flush=True)
    run(command.job, command.words)
    if command.job == "train":
        from deepcluster.compat2018.files import write_2018

        try:
            for file, what in write_2018(command.folder):
                print(f"{file}  {what}", flush=True)
        except user_errors() as error:
            exit_with_error(error)


if __name__ == "__main__":
    main()
