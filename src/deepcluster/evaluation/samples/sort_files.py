"""evaluation=sort: the run's pictures in folders by cluster. Next: sorting.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class SortFiles(Evaluator):
    """Sort the pictures of a run's clusters.csv into folders; without `do` it only tells what it would do.

    Args:
        kind: "sort".
        out: the folder that gets a folder for each cluster.
        mode: "link": symbolic links; "copy"; "move".
        do: do it. What was done can be undone, see `undo`.
        undo: undo an earlier sort into `out`.
        names: CSV file with the columns cluster and name; null: RUN/names.csv, if there is one.
        names_of: folder of the run whose clusters `names` names, if it is another: each name goes to the cluster that
            most of its pictures are in now.
    """

    makes = "files"

    kind: str = "sort"
    out: str | None = setting(None, is_path=True)
    mode: str = setting("link", one_of=("link", "copy", "move"))
    do: bool = False
    undo: bool = False
    names: str | None = setting(None, is_path=True)
    names_of: str | None = setting(None, is_path=True)

    @property
    def keeps_results(self) -> bool:
        return self.do or self.undo

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Sort, or undo it.

        Returns:
            n_images; n_folders, or n_kept when it is undone.

        Raises:
            ValueError: if `out` or clusters.csv is missing, the pictures are no files, or one would be overwritten.
        """
        from deepcluster.evaluation.samples import sorting
        from deepcluster.evaluation.samples.sample_files import CLUSTERS, root_of_files
        from deepcluster.system.words import command

        if self.out is None:
            raise ValueError("evaluation=sort needs evaluation.out=DIR, the folder that gets the sorted pictures")
        say, out = context.progress.say, Path(self.out)
        if self.undo:
            n_kept = sorting.undo(out)
            kept = f"; {n_kept:,} files are kept there, as they have changed" if n_kept else ""
            say(f"undone     the sorting into {out}{kept}")
            return {"n_kept": n_kept}
        run, root = context.stored.home, root_of_files(context.data)
        mode = None if self.mode == "link" else self.mode
        typed = {"mode": mode, "names": self.names, "names_of": self.names_of}
        changed = {key: value for key, value in typed.items() if value is not None}
        if root is None or not (run / CLUSTERS).is_file():
            raise ValueError(f"{run} is no finished run on a folder of pictures: evaluation=sort needs its {CLUSTERS}")
        if self.mode != "move" and out.resolve().is_relative_to(root.resolve()):
            raise ValueError(
                f"evaluation.out={out} lies in data.root={root}, where a {self.mode} would be read as one more "
                "picture; name a folder elsewhere, or set evaluation.mode=move"
            )
        if (out / sorting.SORTED).exists():
            again = command("sort", run, out, undo="true")
            raise ValueError(f"{out} was sorted into before: undo that first ({again}), or choose another folder")
        clusters = sorting.read_column(run / CLUSTERS, "sample", "cluster")
        moves = sorting.plan(clusters, root, out, self._names(context, clusters))
        folders = {move.target.parent for move in moves}
        if self.do:
            sorting.sort(moves, out, self.mode)
            say(f"sorted     {len(moves):,} pictures into {len(folders):,} folders of {out}")
            say(f"           to undo it: {command('sort', run, out, undo='true')}")
        else:
            for move in moves[:3]:
                say(f"would {self.mode}  {move.source} -> {move.target}")
            say(f"would {self.mode}  {len(moves):,} pictures into {len(folders):,} folders of {out}; nothing is done")
            say(f"           to do it: {command('sort', run, out, further=_elsewhere(context), **changed, do='true')}")
        return {"n_images": len(moves), "n_folders": len(folders)}

    def _names(self, context: EvaluationContext, clusters: dict[str, str]) -> dict[str, str]:
        from deepcluster.evaluation.bundle import NAMES, names_of_clusters, read_names
        from deepcluster.evaluation.clusters.clustered_images import stored_assignment
        from deepcluster.evaluation.samples import sorting
        from deepcluster.evaluation.samples.sample_files import CLUSTERS

        if self.names_of is None:
            return names_of_clusters(self.names, context.stored.home, stored_assignment(context).k)
        names = read_names(Path(self.names or Path(self.names_of) / NAMES), None)
        before = sorting.read_column(Path(self.names_of) / CLUSTERS, "sample", "cluster")
        return sorting.carried_names(names, before, clusters)


def _elsewhere(context: EvaluationContext) -> list[str]:
    """The settings that name the pictures, where they lie in another folder than the run says."""
    from deepcluster.data.settings import Folder
    from deepcluster.evaluation.samples.sample_files import root_of_files
    from deepcluster.system.quoting import override

    root, of_run = root_of_files(context.data), context.run_data
    if not isinstance(of_run, Folder):
        return ["data=folder", override("data.root", str(root))]
    return [] if str(root) == of_run.root else [override("data.root", str(root))]
