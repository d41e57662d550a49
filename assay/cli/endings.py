"""The last lines of a verb: what was written where, and what to do next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli import screen

if TYPE_CHECKING:
    from assay.records.runs import Run

EXPORTED = ("hub", "grammar")  # worlds whose policies transformers can load


def ending(*steps: tuple[str, str], as_json: bool = False) -> None:
    """Say on stderr what was written and what comes next, so that stdout holds results alone.

    Nothing is said with --quiet or --json.

    Args:
        steps: (what, command or path), such as ("report", "assay report runs/x -o report.html").
        as_json: Whether the verb printed JSON.
    """
    if steps and not as_json:
        wide = max(len(what) for what, _ in steps) + 1
        screen.note("\n".join(f"{what + ':':<{wide}} {how}" for what, how in steps))


def after_run(run: Run, *, as_json: bool = False) -> None:
    """What a run came to, what it holds, and what to do with it."""
    from assay.cli import outcome
    from assay.records.best import best
    from assay.records.result import without_reward
    from assay.records.run_warnings import causes, collapsed

    top = best(run)
    steps = [("best", f"{top.name}: {top.reason}"), ("kept", outcome.kept(run))]
    if lacking := without_reward(run.about.get("result")):
        steps.append(("reward", lacking))
    steps += [("warning", w["what"]) for w in causes(collapsed(run.about))]
    steps += [("report", command("assay", "report", run.folder, "-o", "report.html"))]
    if run.about["world"].get("name") in EXPORTED:
        steps.append(("weights", command("assay", "export", run.folder, "--out", "model")))
    ending(*steps, as_json=as_json)


def after_runs(folder: Path, runs: Sequence[Path], *, as_json: bool = False) -> None:
    """What to do with the runs of a folder.

    Args:
        folder: The folder.
        runs: Those in it that are done.
        as_json: Whether the verb printed JSON.
    """
    from assay.records.runs import Run

    steps = [("report", command("assay", "report", folder, "-o", "report.html"))] if runs else []
    if len({Run.open(r).about["recipe"] for r in runs}) > 1:
        steps.append(("compare", command("assay", "compare", folder)))
    ending(*steps, as_json=as_json)


def folded(line: str, width: int = 78, indent: str = "    ") -> str:
    """A long command on several lines that a shell reads as one, broken before flags.

    Args:
        line: The command.
        width: The widest line.
        indent: Before each line but the first.

    Example:
        >>> print(folded("assay run grpo --model m --out runs/x", width=30))
        assay run grpo --model m \\
            --out runs/x
    """
    lines = [""]
    for part in re.split(r" (?=-)", line):
        start = "" if len(lines) == 1 else indent
        if lines[-1] and len(f"{start}{lines[-1]} {part} \\") > width:
            lines.append(part)
        else:
            lines[-1] = f"{lines[-1]} {part}".strip()
    return f" \\\n{indent}".join(lines)


def command(*words: object) -> str:
    """A command line that a shell reads as these words.

    Example:
        >>> command("assay", "report", "my runs/x", "-o", "report.html")
        "assay report 'my runs/x' -o report.html"
    """
    return shlex.join(map(str, words))
