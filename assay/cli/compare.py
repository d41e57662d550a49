"""compare: methods side by side at one budget, against a plain, a tuned and a stopped baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from assay.cli.report import runs_in
from assay.errors import InputError
from assay.report.ours import must_be_ours


def compare_(
    *folders: str,
    baseline: str = "leave_one_out",
    tuned: str | None = None,
    budget: str = "generated",
    apart: bool = False,
    out: Path | None = None,
    json_: bool = False,
) -> int:
    """Compare methods at one budget with the plain, the tuned and the stopped baseline.

    The runs of a sweep are paired by seed and world: gold at equal KL, peak, end, drop and cost of
    each method, and its differences from the plain baseline, from the same with a price on KL that
    was tuned on the other seeds, and from the plain one stopped at its best. Prints Markdown. To
    make the runs: assay sweep METHODS… leave_one_out kl_in_loss --seeds 0..9 --out FOLDER

    Args:
        folders: Folders of runs, or folders that hold runs (a sweep's).
        baseline: The plain method: a recipe that was run in one setting.
        tuned: The recipe whose settings are the prices on KL; kl_in_loss or kl_in_reward where it
            is not given.
        budget: The count that all must have spent alike: generated, scored or updates.
        apart: List methods of another budget apart, instead of refusing to compare.
        out: A folder for compare.md, compare.html, compare.json and a figure a world.
    """
    from assay.evaluation.compare import compare
    from assay.report.comparison import figure, markdown, page

    if not folders:
        raise InputError("assay compare needs the folder of a sweep")
    found, drawn = compare(
        [f for folder in folders for f in runs_in(Path(folder))],
        baseline=baseline,
        tuned=tuned,
        budget=budget,
        apart=apart,
    )
    text = markdown(found)
    if out is not None:
        shown = []
        for ground, rows, plain in drawn:
            ordered = [plain, *[r for r in rows if r is not plain]]
            shown.append(
                (ground, [(r.label, [c.track for c in r.cells.values()]) for r in ordered])
            )
        figures = {f"compare{i or ''}.svg": figure(*one) for i, one in enumerate(shown)}
        whole = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        _write(
            out,
            {
                "compare.md": (text, "# Comparison", "assay compare"),
                "compare.html": (page(found, shown), "<!doctype html>", "· assay</title>"),
                "compare.json": (whole, "{", '"made_by": "assay compare"'),
                **{k: (v, "<svg", 'class="chart"') for k, v in figures.items()},
            },
        )
    print(json.dumps(found, ensure_ascii=False) if json_ else text)
    return 0


def _write(folder: Path, files: Mapping[str, tuple[str, str, str]]) -> None:
    """Write files by name: (content, how ours begin, what is in ours). Only an older comparison is
    written over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, begin, mark) in files.items():
        must_be_ours(folder / name, begin, mark, "--out")
    for name, (content, _, _) in files.items():
        (folder / name).write_text(content, encoding="utf-8")
