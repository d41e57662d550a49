"""compare: methods side by side at one budget, against a plain, a tuned and a stopped baseline."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.cli import screen
from assay.cli.endings import command, ending
from assay.errors import InputError
from assay.safe_text import json_text

SURE = " *"  # after a difference that stays sure
NAME, ROOMY = 18, 110  # columns of a name on a terminal of fewer than so many
REACHED = ("method", "seeds", "reference", "peak", "end", "drop")
COSTS = ("generated", "scored", "labels", "seconds")
SCORES, PRICES = (0, 1, 2, 3, 5, 7), (0, 4, 6, 8, 9, 10, 11)  # columns of the page's table
LEGEND = (
    "Means over seeds, ± half of the 95 % Student interval. Differences are paired by seed; * "
    "stays sure when all methods of its column are judged at once (Holm, 5 %), from five pairs on."
)


def compare_(
    *folders: str,
    baseline: str = "leave_one_out",
    tuned: str | None = None,
    budget: str = "generated",
    apart: bool = False,
    per_seed: list[str] | None = None,
    out: Path | None = None,
    json_: bool = False,
) -> int:
    """Compare methods at one budget with the plain, the tuned and the stopped baseline.

    The runs of a sweep are paired by seed and world: gold at equal KL, peak, end, drop and cost of
    each method, and its differences from the plain baseline, from the same with a price on KL that
    was tuned on the other seeds, and from the plain one stopped at its best. Prints tables on a
    terminal, and Markdown into a file or a pipe. To make the runs:
    assay sweep METHODS… leave_one_out kl_in_loss --seeds 0..9 --out FOLDER

    Args:
        folders: Folders of runs, or folders that hold runs (a sweep's).
        baseline: The plain method: a recipe that was run in one setting.
        tuned: The recipe whose settings are the prices on KL; kl_in_loss or kl_in_reward where it
            is not given.
        budget: The count that all must have spent alike: generated, scored or updates.
        apart: Show methods of another budget in a table of their own, instead of refusing to
            compare.
        per_seed: Arguments whose files go with the seed, such as rewards where each seed has reward
            models of its own; otherwise runs with other rewards are in another world.
        out: A folder for compare.md, compare.html, compare.json and a figure a world.

    Example:
        assay compare runs/sweep
        assay compare runs/sweep --baseline leave_one_out --budget updates --out comparison
    """
    from assay.api.comparison import compare

    if not folders:
        raise InputError("assay compare needs the folder of a sweep")
    found = compare(
        folders,
        baseline=baseline,
        tuned=tuned,
        budget=budget,
        apart=apart,
        per_seed=per_seed or (),
    )
    if out is not None:
        found.save(out)
    if json_:
        print(json_text(found.result))
    else:
        print(for_terminal(found.result) if sys.stdout.isatty() else found)
    if out is None:
        again = command("assay", "compare", *folders, "--out", "comparison")
        ending(("as files", again), as_json=json_)
    else:
        ending(("look at it", f"open {out / 'compare.html'} in a browser"), as_json=json_)
    return 0


def for_terminal(found: Mapping[str, Any]) -> str:
    """The comparison as tables, narrower than the page's.

    Args:
        found: What `evaluation.compare` returns.
    """
    from assay.report.comparison import tables

    blocks = []
    for world in tables(found):
        reached = [list(map(str, row)) for row in world["reached"].rows]
        about = (
            f"Baseline: {world['baseline']}. Budget: {world['budget']} a run. Peak and end are "
            f"{world['gold']} on the same fresh completions."
        )
        blocks += [
            screen.heading(world["title"]) + "\n" + screen.wrapped(about),
            _columns(REACHED, reached, SCORES),
            _columns(("method", "KL at peak", "at end", *COSTS), reached, PRICES),
        ]
        if rows := _differences(world["against"]):
            head = ("method", "difference", "", "above 0", "√KL shared")
            blocks.append(screen.table(head, rows, numbers=(3, 4)))
        if world["apart"]:
            other = [list(map(str, row)) for row in world["apart"].rows]
            blocks += [
                "Methods of another budget",
                _columns((*REACHED, *COSTS), other, (*SCORES, *PRICES[3:])),
            ]
        blocks += [screen.wrapped(note) for note in world["notes"]]
    return "\n\n".join([*blocks, screen.wrapped(LEGEND)])


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[int]) -> str:
    """Some columns of a table, the first of them the method's."""
    lines: list[list[str]] = []
    for row in rows:
        name, *more = _folded(row[0])
        lines.append([name, *(row[i] for i in places[1:])])
        lines += [[part, *[""] * (len(head) - 1)] for part in more]
    return screen.table(head, lines, numbers=range(1, len(head)))


def _differences(table: Any) -> list[list[str]]:
    """A line for each difference of each method; a method is named, and its share said, once."""
    lines: list[list[str]] = []
    for method, *cells, share in table.rows:
        mine = []
        for title, cell in zip(table.head[1:], cells):
            value, _, pairs = cell.text.partition(" (")
            if value:
                mine.append([title, value + (SURE if cell.sure else ""), pairs.rstrip(")")])
        parts = _folded(str(method))
        for i in range(max(len(mine), len(parts))):
            line = mine[i] if i < len(mine) else ["", "", ""]
            lines.append([parts[i] if i < len(parts) else "", *line, "" if i else str(share)])
    return lines


def _folded(name: str) -> list[str]:
    """A method's name in lines, where the terminal is narrow."""
    if screen.width() >= ROOMY:
        return [name]
    return textwrap.wrap(name, NAME, subsequent_indent="  ") or [name]
