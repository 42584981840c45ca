"""The jobs in a sweep's folder and how far each got. Next: same_job.py finds a job again, table.py prints all."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deepcluster.system.atomic import read_json, write_atomically
from deepcluster.system.nested import flat

JOB_FILE = "job.json"
SHARED = ".untrained"  # in the sweep's folder: the features that its jobs share, see features/reuse.py
WENT_BACK = "went_back"  # of the numbers: 1 where a run ended with its start, as training made it worse
RESULT_FILES = ("results.json", "summary.json")  # of eval.py and of train.py
NOT_IN_TABLES = ("output_dir", "sweep")  # the same for all jobs, and known to the user


@dataclass(kw_only=True)
class Job:
    """One job of a sweep.

    Args:
        number: its place in the sweep, from 0.
        folder: where its files are.
        overrides: what was typed for it, key -> value.
        evaluation: the option of eval.py's group, also where it was not typed; None in train.py.
        numbers: its results; {} if it failed.
        error: why it failed, in a sentence.
        ended: True if it is done or has failed; False if it runs or was stopped.
        settings: the hash of the settings that decide its result (same_job.py); None for eval.py and for settings
            that are refused.
        store_dtype: extraction.store_dtype as it was typed; a run's config.yaml holds what "auto" has become.
        chooses_k: clustering.k=auto was typed; config.yaml holds the number that was chosen.
    """

    number: int
    folder: str
    overrides: dict[str, str]
    evaluation: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    ended: bool = True
    settings: str | None = None
    store_dtype: str = "auto"
    chooses_k: bool = False

    @property
    def done(self) -> bool:
        """Whether it came to its end without an error."""
        return self.ended and self.error is None


def write_job(job: Job) -> None:
    """Write the job's state to job.json in its folder, from which any process can print the sweep."""
    stored = {key: value for key, value in asdict(job).items() if key not in ("folder", "numbers")}
    write_atomically(Path(job.folder) / JOB_FILE, (json.dumps(stored, indent=2) + "\n").encode())


def jobs_in(sweep: Path) -> list[Job]:
    """All jobs in the sweep's folder, by number; a damaged job.json is left out."""
    jobs = []
    for file in sweep.glob(f"*/{JOB_FILE}"):
        try:
            job = Job(**json.loads(file.read_text()), folder=str(file.parent))
        except (ValueError, TypeError):
            continue
        if job.done:
            job.numbers = numbers_in(file.parent)
        jobs.append(job)
    return sorted(jobs, key=lambda job: (job.number, job.folder))


def keys_and_values(overrides: list[str]) -> dict[str, str]:
    """Overrides as key -> value, in Hydra's spelling, without those that a table need not show."""
    parted = (override.partition("=") for override in overrides)
    return {
        key: value for key, _, value in parted if key not in NOT_IN_TABLES and not key.startswith(("hydra.", "hydra/"))
    }


def numbers_in(folder: Path) -> dict[str, float]:
    """The numbers in a job's results.json or summary.json; those of the summary's groups are called GROUP/NAME."""
    file = next((folder / name for name in RESULT_FILES if (folder / name).is_file()), None)
    if file is None:
        return {}
    content = read_json(file)
    if file.name == "results.json":  # its one group, arch, describes the network
        content = {name: value for name, value in content.items() if not isinstance(value, dict)}
    values = flat(content, "/").items()
    numbers = {name: value for name, value in values if isinstance(value, int | float) and not isinstance(value, bool)}
    return {**numbers, WENT_BACK: 1} if content.get("kept") == "start" else numbers
