"""Many runs: `assay.sweep` makes them over a grid, `assay.compare` sets methods side by side."""

from __future__ import annotations

import itertools
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.api.arguments import in_python
from assay.api.execution import Worlds
from assay.api.notebook import comparison_html
from assay.api.recipes import recipe_entry
from assay.api.run import Run
from assay.api.train import open_run, started
from assay.errors import InputError, NotFinite
from assay.records.memory import MemoryRun
from assay.records.methods import Ground, found
from assay.report.ours import must_be_ours

log = logging.getLogger("assay")
Over = Mapping[str, Sequence[Any]]  # values by argument


def sweep(
    recipes: str | Callable[..., Any] | Sequence[Any] | Mapping[str, Over],
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
        InputError: A name is unknown; nothing has been run then.

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
        else dict.fromkeys([recipes] if isinstance(recipes, str) or callable(recipes) else recipes)
    )
    several: list[int | None] = [*seeds]
    jobs = []
    for recipe, own in each.items():
        name = recipe_entry(recipe).name
        for setting in _grid({**(over or {}), **(own or {})}):
            for seed in several or [None]:
                seeded = {} if seed is None else _seeded(seed, arguments)
                shown = {**setting, **({} if seed is None else {"seed": seed})}
                jobs.append((recipe, {**setting, **seeded}, Path(out) / name / label(shown)))
    worlds = Worlds()
    return [_run(recipe, {**arguments, **own}, folder, worlds) for recipe, own, folder in jobs]


def _seeded(seed: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The seed of the run, and that of a world of assay's."""
    return {"seed": seed, **({} if arguments.get("model") is not None else {"world__seed": seed})}


def _grid(over: Over) -> list[dict[str, Any]]:
    for name, values in over.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"over['{name}'] is {values!r}; give a list of values")
    return [
        dict(zip(over, values, strict=True))
        for values in itertools.product(*map(list, over.values()))
    ]


def _run(recipe: Any, arguments: Mapping[str, Any], folder: Path, worlds: Worlds) -> Run:
    """One run of a sweep, begun, gone on with or opened."""
    try:
        run = started(
            recipe, worlds=worlds, out=folder, resume=(folder / "run.json").exists(), **arguments
        )
        for _ in run:
            pass
    except (InputError, NotFinite) as why:
        if not (folder / "run.json").exists():
            raise
        log.warning("%s failed: %s", folder, why)
    return open_run(folder)


def label(setting: Mapping[str, Any]) -> str:
    """A setting as a folder's name: lam=0.1,seed=2. Nothing in it can leave the folder it is in."""
    text = (
        ",".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in setting.items())
        or "run"
    )
    return re.sub(r"[^A-Za-z0-9_.,=+\[\]-]", "_", text)[:150]


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
            InputError: Another file of one of these names is there.
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
        out.mkdir(parents=True, exist_ok=True)
        for name, (_, begin, mark) in files.items():
            must_be_ours(out / name, begin, mark, "--out")
        for name, (content, _, _) in files.items():
            (out / name).write_text(content, encoding="utf-8")
        return out

    def _shown(self) -> list[tuple[Ground, list[Any]]]:
        out = []
        for ground, rows, plain in self.drawn:
            ordered = [plain, *[r for r in rows if r is not plain]]
            out.append((ground, [(r.label, [c.track for c in r.cells.values()]) for r in ordered]))
        return out


def compare(
    runs: Sequence[Run | str | Path] | str | Path,
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

    given = [runs] if isinstance(runs, (str, Path)) else list(runs)
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
