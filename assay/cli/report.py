"""report: records become one HTML file, one figure, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.cli import screen
from assay.cli.endings import command, ending
from assay.engine.atomic import write_bytes
from assay.engine.progress import stage
from assay.errors import InputError
from assay.records.result import named
from assay.safe_text import json_text, visible

FEW = 12  # runs whose best policies are printed; the page has them all
HEAD = (
    "method",
    "world",
    "seeds",
    "gold at the reference",
    "at the peak",
    "√KL there",
    "at the end",
    "√KL there",
    "drop",
)


def report_(
    *runs: str,
    out: Path | None = None,
    baseline: str | None = None,
    title: str = "",
    figure: Path | None = None,
    json_: bool = False,
) -> int:
    """Write runs as one HTML page, and print what each method reached.

    With --json the table is printed as JSON, and only what --out or --figure name is written. A
    report or figure that is there is replaced; any other file is not.

    Args:
        runs: Folders of runs, or folders that hold runs (a sweep's).
        out: The HTML file; report.html where it is not given.
        baseline: The method that the others are compared with.
        title: The report's heading.
        figure: An SVG file for the headline figure alone.

    Example:
        assay report runs/grpo -o report.html
        assay report runs/sweep --baseline leave_one_out -o report.html --figure headline.svg
    """
    if not runs:
        raise InputError("assay report needs the folders of runs, such as runs/*")
    with stage("starting"):
        from assay.report import build, summary, svg
        from assay.report.ours import must_be_ours

    folders = [f for run in runs for f in runs_in(Path(run))]
    with stage(f"reading {len(folders)} runs"):
        found = summary(folders)
    page = None if json_ and out is None else out or Path("report.html")
    if page is not None:
        must_be_ours(page, "<!doctype html>", "· assay</title>", "-o")
    if figure is not None:
        must_be_ours(figure, "<svg", 'class="chart"', "--figure")
        write_bytes(figure, svg(folders).encode())
    if page is not None:
        with stage(f"drawing {page}"):
            page = build(folders, page, baseline=baseline, title=title)
    print(json_text(found) if json_ else "\n".join([table(found), *bests(found), "", str(page)]))
    look = [("look at it", f"open {page} in a browser")]
    several = len({s["method"] for s in found}) > 1
    more = [("compare", command("assay", "compare", *runs))] if several else []
    ending(*look, *more, as_json=json_)
    return 0


def bests(found: Sequence[dict[str, Any]]) -> list[str]:
    """The policy that each run comes to, and why: a line a run, where the runs are few.

    Args:
        found: What `report.summary` returned.
    """
    several = len({m["method"] for m in found}) > 1
    said = [
        visible(
            f"best of {m['method'] + ', ' if several and m['method'] not in b['run'] else ''}"
            f"{b['run']}: {named(b)}: {b['reason']}"
        )
        for m in found
        for b in m["best"]
    ]
    return ["", *said] if 0 < len(said) <= FEW else []


def runs_in(folder: Path) -> list[Path]:
    """The folder itself where it is a run, else the runs below it. Raises InputError where there is
    none.
    """
    if (folder / "run.json").exists():
        return [folder]
    below = sorted(p.parent for p in folder.rglob("run.json")) if folder.is_dir() else []
    if not below:
        raise InputError(
            f"{folder} is not a run and holds no run: a run is a folder with a run.json"
        )
    return below


def table(found: Sequence[dict[str, Any]]) -> str:
    """What each method reached, for a terminal, and on which completions."""
    sources = {(s["peak_source"], s["final_source"]) for s in found if s["peak_source"]}
    if sources == {("re-read", "re-read")}:
        said = "Reference, peak and end are gold on fresh completions, after the run."
    elif sources and ("re-read", "re-read") not in sources:
        said = "Peak and end are the run's own readings; a highest reading is too high on average."
    else:
        said = "Peak and end are gold on fresh completions where a run read them again."
    made = screen.table(
        HEAD,
        [
            (
                str(s["method"]),
                str(s["world"]),
                str(s["seeds"]),
                number(s["reference_gold"]),
                number(s["peak_gold"], s["peak_gold_half"]),
                root(s["peak_kl"]),
                number(s["final_gold"], s["final_gold_half"]),
                root(s["final_kl"]),
                number(s["drop"], s["drop_half"]),
            )
            for s in found
        ],
        numbers=range(2, 9),
    )
    return f"{made}\n{screen.wrapped(said)}" if sources else made


def number(value: float | None, half: float | None = None) -> str:
    """Three decimals, with half an interval where there is one."""
    return "–" if value is None else f"{value:.3f}" + ("" if half is None else f" ±{half:.3f}")


def root(kl: float | None) -> str:
    """√KL."""
    return "–" if kl is None else f"{max(0.0, kl) ** 0.5:.2f}"
