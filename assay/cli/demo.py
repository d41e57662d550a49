"""demo: the main job on the embedded world. One world, three methods, one report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from assay.cli import report, sweep
from assay.cli.endings import ending
from assay.records.runs import Run
from assay.registry import catalogue
from assay.safe_text import json_text

METHODS: dict[str, dict[str, Any]] = {
    "best_of_n": {"most": 256},
    "leave_one_out": {"max_steps": 60},
    "worst_case": {"max_steps": 60},
}
SETTING = {"world": "grammar"}


def demo_(*, out: Path | None = None, seed: int = 0, json_: bool = False) -> int:
    """Run the main job on the embedded world, in about three minutes.

    Fits proxies to noisy preferences in world grammar, optimises against one of them by best-of-n
    and by policy gradient, and against the worst case of all, and measures gold apart. A demo that
    was stopped goes on; a finished one is kept, and the next goes to runs/demo-2, runs/demo-3 …

    Args:
        out: The folder of the three runs and the report.
        seed: The seed of the runs.

    Example:
        assay demo
        assay demo --seed 1 --out runs/demo-seed-1
    """
    folder = next_folder(Path("runs") / "demo") if out is None else out
    began = time.monotonic()
    jobs = [
        (catalogue.find(name), {**SETTING, "seed": seed, **own}, folder / name)
        for name, own in METHODS.items()
    ]
    outcomes = sweep.run_all(jobs, quiet=json_)
    if any(o["state"] == "failed" for o in outcomes):
        return 1
    from assay.report import build, summary

    folders = [f for _, _, f in jobs]
    found = summary(folders)
    page = build(folders, folder / "report.html", baseline="leave_one_out")
    if json_:
        print(json_text({"report": str(page), "methods": found}))
    else:
        print("\n".join(["", report.table(found), *report.bests(found), "", str(page)]))
    ending(
        ("took", f"{time.monotonic() - began:.0f} s"),
        ("look at it", f"open {page} in a browser"),
        ("your model", "assay run --help"),
        as_json=json_,
    )
    return 0


def next_folder(first: Path) -> Path:
    """The first demo that is not finished: a new folder, or one that was stopped."""
    i = 1
    while True:
        folder = first if i == 1 else first.with_name(f"{first.name}-{i}")
        runs = [folder / name / "run.json" for name in METHODS]
        if not all(r.exists() and Run.open(r.parent).about["state"] == "done" for r in runs):
            return folder
        i += 1
