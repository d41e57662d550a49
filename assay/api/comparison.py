"""`assay.compare`: methods side by side, at one budget."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.api.arguments import in_python
from assay.api.notebook import comparison_html
from assay.api.opened import open_run
from assay.api.run import Run
from assay.engine.atomic import write_bytes
from assay.engine.folder_lock import only_writer
from assay.engine.os_errors import writing_to
from assay.engine.owner import held_by
from assay.errors import InputError
from assay.records.memory import MemoryRun
from assay.records.methods import Ground, found
from assay.report.ours import is_ours, must_be_ours

_FIGURE = "<svg", 'class="chart"'  # how one begins, and what stands in each


@dataclass(frozen=True)
class Comparison:
    """Methods at one budget, with paired differences from the baselines.

    Attributes:
        result: Everything, as JSON values: `assay compare --json` prints the same.
        drawn: What the figures show.
    """

    result: Mapping[str, Any]
    drawn: Sequence[Any]

    def __str__(self) -> str:
        from assay.report.comparison import markdown

        return markdown(self.result)

    def __repr__(self) -> str:
        methods = sum(len(w["methods"]) for w in self.result["worlds"])
        return f"<assay comparison: {methods} methods; print it, or call save(folder)>"

    def _repr_html_(self) -> str:
        from assay.report.comparison import figure

        return comparison_html(self.result, [figure(*one) for one in self._shown()])

    def save(self, folder: str | Path) -> Path:
        """Write compare.md, compare.html, compare.json and a figure a world.

        Args:
            folder: The folder. Only an older comparison in it is written over, and its further
                figures are removed.

        Returns:
            The folder.

        Raises:
            InputError: Another file of one of these names is there, or another process writes to
                the folder: its files and these would be of two comparisons.
        """
        from assay.report.comparison import figure, page

        shown, out = self._shown(), Path(folder)
        figures = {f"compare{i or ''}.svg": figure(*one) for i, one in enumerate(shown)}
        whole = json.dumps(self.result, indent=1, ensure_ascii=False) + "\n"
        files = {
            "compare.md": (str(self), "# Comparison", "assay compare"),
            "compare.html": (page(self.result, shown), "<!doctype html>", "· assay</title>"),
            "compare.json": (whole, "{", '"made_by": "assay compare"'),
            **{k: (v, *_FIGURE) for k, v in figures.items()},
        }
        with writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
        with only_writer(out) as mine:
            if not mine:
                raise InputError(
                    f"{held_by(out)} is writing to {out}: wait until it has ended, or give another "
                    "folder"
                )
            for name, (_, begin, mark) in files.items():
                must_be_ours(out / name, begin, mark, "--out")
            for name, (content, _, _) in files.items():
                write_bytes(out / name, content.encode())
            # an older comparison of more worlds had more figures
            for old in sorted(out.glob("compare[0-9]*.svg")):
                if old.name not in figures and is_ours(old, *_FIGURE):
                    old.unlink()
        return out

    def _shown(self) -> list[tuple[Ground, list[Any]]]:
        out = []
        for ground, rows, plain in self.drawn:
            ordered = [plain, *[r for r in rows if r is not plain]]
            out.append((ground, [(r.label, [c.track for c in r.cells.values()]) for r in ordered]))
        return out


def compare(
    runs: Sequence[Run | str | Path] | Run | str | Path,
    *,
    baseline: str = "",
    tuned: str | None = None,
    budget: str = "generated",
    apart: bool = False,
    per_seed: Sequence[str] = (),
) -> Comparison:
    """Compare methods at one budget with the plain, the tuned and the stopped baseline.

    Runs are paired by seed and world: gold at equal KL, peak, end, drop and cost of each method,
    with differences from the plain baseline, from the same with a price on KL that was tuned on
    the other seeds, and from the plain one stopped at its best.

    Args:
        runs: Runs, their folders, or folders of runs (a sweep's).
        baseline: The plain method; the first run's recipe by default.
        tuned: The recipe whose settings are the prices on KL; kl_in_loss or kl_in_reward where
            they were run.
        budget: The count that all must have spent alike: generated, scored or updates.
        apart: Show methods of another budget in a table of their own, instead of refusing to
            compare.
        per_seed: Arguments whose files go with the seed, such as ["rewards"] where each seed has
            reward models of its own. Otherwise runs with other rewards are in another world.

    Returns:
        The comparison: print it, look at it in a notebook, or save it.

    Raises:
        InputError: The baseline was not run, or budgets differ.
    """
    from assay.evaluation.compare import compare as compared

    given = [runs] if isinstance(runs, (str, Path, Run)) else list(runs)
    if not given:
        raise InputError("runs is empty; pass runs, or the folder of a sweep")
    with in_python(), ExitStack() as held:
        folders: list[Path | str] = []
        for i, run in enumerate(given):
            record = run.record if isinstance(run, Run) else None
            if isinstance(record, MemoryRun):
                made = Path(held.enter_context(tempfile.TemporaryDirectory()))
                folders.append(record.write(made / f"{record.about['recipe']}-{i}").folder)
            elif record is not None:
                folders.append(record.folder)
            else:
                folders.append(str(run))
        first = open_run(found(folders)[0]).record.about["recipe"]
        result, drawn = compared(
            folders,
            baseline=baseline or first,
            tuned=tuned,
            budget=budget,
            apart=apart,
            per_seed=[per_seed] if isinstance(per_seed, str) else per_seed,
        )
        return Comparison(result, drawn)
