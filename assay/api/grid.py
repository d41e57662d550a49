"""Many runs: `assay.sweep` makes them over a grid, `assay.compare` sets methods side by side."""

from __future__ import annotations

import itertools
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.api import flags
from assay.api.arguments import in_python, known_to
from assay.api.arguments import plain as as_plain
from assay.api.execution import Worlds
from assay.api.notebook import comparison_html
from assay.api.opened import open_run
from assay.api.recipes import recipe_entry
from assay.api.run import Run
from assay.api.train import checked
from assay.engine import parallel
from assay.engine.atomic import write_bytes
from assay.engine.folder_lock import only_writer
from assay.engine.os_errors import writing_to
from assay.engine.owner import held_by
from assay.engine.reserved import reserving
from assay.errors import Collapsed, InputError, NotFinite
from assay.records.memory import MemoryRun
from assay.records.methods import Ground, found
from assay.report.ours import must_be_ours

log = logging.getLogger("assay")
Over = Mapping[str, Sequence[Any]]  # values by argument


def sweep(
    recipes: str | Path | Callable[..., Any] | Sequence[Any] | Mapping[str, Over],
    *,
    out: str | Path,
    over: Over | None = None,
    seeds: Iterable[int] = (),
    **arguments: Any,
) -> list[Run]:
    """Run recipes over a grid of settings and seeds, each in a folder of its own.

    Finished runs are skipped and unfinished ones go on, so the same call may be made again after a
    stop. A run that fails is reported, and the next one begins.

    Args:
        recipes: A recipe or several, as in `train`; or a dict of each recipe's own grid.
        out: The folder of the runs' folders, OUT/recipe/name=value,….
        over: Values by argument: {"beta": [0, 0.04]} is two runs of each recipe.
        seeds: Seeds of the run, and in a world of assay's of the world too.
        arguments: As in `train`, the same for all runs.

    Returns:
        The runs, in order. A run that failed is among them; its `state` says so.

    Raises:
        InputError: A name is unknown or given twice, or a run of other arguments is in a folder;
            nothing has been run then.

    Example:
        >>> import assay
        >>> runs = assay.sweep(["leave_one_out"], out=getfixture("tmp_path"), seeds=range(2),
        ...                    world="table", max_steps=2, quiet=True)
        >>> [run.state for run in runs]
        ['done', 'done']
    """
    each: dict[Any, Over | None] = (
        dict(recipes)
        if isinstance(recipes, Mapping)
        else dict.fromkeys(
            [recipes] if isinstance(recipes, (str, Path)) or callable(recipes) else recipes
        )
    )
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise InputError(f"seeds is {seeds!r}; give several, such as range(5)")
    numbers = [as_plain(seed) for seed in seeds]
    jobs = []
    with in_python():
        for recipe, own in each.items():
            entry = recipe_entry(recipe)
            for setting in _grid({**(over or {}), **(own or {})}):
                known = known_to(entry, {**arguments, **setting})
                shown = flags.named(setting, known)
                given = {**flags.named(arguments, known), **shown}
                for seeded in flags.seeded(numbers, known, given):
                    seed = {k: v for k, v in seeded.items() if k == "seed"}
                    where = Path(out) / entry.name / flags.label({**shown, **seed})
                    jobs.append((recipe, {**arguments, **setting, **seeded}, where))
    with only_sweep(Path(out)):
        worlds = Worlds()
        begins = [
            (
                folder,
                checked(
                    recipe,
                    out=folder,
                    resume=(folder / "run.json").exists(),
                    swept=worlds,
                    **asked,
                ),
            )
            for recipe, asked, folder in jobs
        ]  # all of them before the first run
        return [_run(begin, folder, worlds) for folder, begin in begins]


def only_sweep(out: Path) -> AbstractContextManager[object]:
    """Let no other process start or go on with a sweep in a folder.

    Args:
        out: The sweep's folder; it need not exist.

    Returns:
        What holds it while its block runs. It raises InputError where another process has it.
    """
    return reserving(out) if parallel.rank() == 0 else nullcontext()


def _grid(over: Over) -> list[dict[str, Any]]:
    for name, values in over.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"over['{name}'] is {values!r}; give a list of values")
    varied = {name: [as_plain(v) for v in values] for name, values in over.items()}
    for name, values in varied.items():
        for lacking in (v for v in values if not _is_json(v)):
            raise InputError(
                f"over['{name}'] has a {type(lacking).__name__}, which cannot be part of a "
                "folder's name; give texts or numbers, or call sweep for each with its own out"
            )
    return [dict(zip(varied, one, strict=True)) for one in itertools.product(*varied.values())]


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _run(begin: Callable[[Worlds], Run], folder: Path, worlds: Worlds) -> Run:
    """One run of a sweep, begun, gone on with or opened."""
    try:
        for _ in begin(worlds):
            pass
    except Exception as why:
        if not (folder / "run.json").exists():
            raise
        expected = isinstance(why, (Collapsed, InputError, NotFinite))
        log.warning("%s failed: %s", folder, why, exc_info=not expected)
    return open_run(folder)


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
            folder: The folder. Only an older comparison in it is written over.

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
            **{k: (v, "<svg", 'class="chart"') for k, v in figures.items()},
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
        apart: List methods of another budget apart, instead of refusing to compare.

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
            folders, baseline=baseline or first, tuned=tuned, budget=budget, apart=apart
        )
        return Comparison(result, drawn)
