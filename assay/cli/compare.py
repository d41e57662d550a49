"""compare: methods side by side at one budget, against a plain, a tuned and a stopped baseline."""

from __future__ import annotations

import json
from pathlib import Path

from assay.cli.endings import command, ending
from assay.errors import InputError


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

    Example:
        assay compare runs/sweep
        assay compare runs/sweep --baseline leave_one_out --budget updates --out comparison
    """
    from assay.api.grid import compare

    if not folders:
        raise InputError("assay compare needs the folder of a sweep")
    found = compare(folders, baseline=baseline, tuned=tuned, budget=budget, apart=apart)
    if out is not None:
        found.save(out)
    print(json.dumps(found.result, ensure_ascii=False) if json_ else found)
    if out is None:
        again = command("assay", "compare", *folders, "--out", "comparison")
        ending(("as files", again), as_json=json_)
    else:
        ending(("look at it", f"open {out / 'compare.html'} in a browser"), as_json=json_)
    return 0
