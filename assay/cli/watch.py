"""watch: label budgets spent on finished runs, and pairs taken to people and back."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from assay.api import flags
from assay.cli import screen
from assay.cli.endings import command, ending
from assay.cli.grammar import Grammar
from assay.cli.verbs import Seen
from assay.errors import InputError, Waiting
from assay.registry.catalogue import HOME
from assay.registry.parameters import from_text
from assay.safe_text import json_text, visible


def watch_(run: str, *, trust_remote_code: bool = False, json_: bool = False, **given: Any) -> int:
    """Decide when a run should have stopped, and collect labels from people.

    Looks at a finished run as --watch looks at one that goes on: at each kept policy it buys labels
    and says go on, cannot tell, or stop. The run needs to have been made with --policies. What was
    labeled before is not paid for again. It writes watch.json into the run's folder, and exits 3
    while people have yet to answer.

    People's labels: assay watch status, export, import and page.

    Args:
        run: The folder of a finished run.
        trust_remote_code: Run Python code that comes with the run's models (auto_map) and kernels
            that their settings name.

    Example:
        assay watch runs/grpo --by judge.py:better --budget 200
        assay watch runs/grpo --by page
    """
    from assay.cli import replay
    from assay.watch.config import WatchConfig
    from assay.watch.labelers import choose

    asked = WatchConfig(**given)
    choose.check_labeler(asked)
    tell, looks = screen.teller(True, json_), []
    for look in replay.looks(Path(run), asked, tell, trust=trust_remote_code):
        looks.append(look)
        tell(f"step {look['step']:>4}  {look['says']}")
    if not looks:
        raise InputError(f"{run} has no reading to look at")
    if json_:
        print(
            json_text(
                {"run": run, "watch": asdict(asked), "verdict": looks[-1], "looks": len(looks)},
            )
        )
    ending(
        ("written", str(Path(run) / "watch.json")),
        ("report", command("assay", "report", run, "-o", "report.html")),
        as_json=json_,
    )
    return 0


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with the fields of the watch's configuration."""
    found = from_text(HOME / "watch" / "config.py", "WatchConfig")
    if found is None:
        raise LookupError("the watch's configuration cannot be read from its text")
    return replace(base, flags={**base.flags, **flags.of(found, group="Watch", without=())})


def status_(run: str, *, json_: bool = False) -> int:
    """Show the verdict on a run so far, and what waits for a label.

    Args:
        run: The folder of a run.

    Example:
        assay watch status runs/grpo
        assay watch status runs/grpo --json
    """
    from assay.records.best import best, state_of, state_said
    from assay.records.checks import LABELS, QUESTIONS
    from assay.records.runs import Run
    from assay.watch.labelers.questions import current_labels

    opened = Run.open(run)
    said = current_labels(LABELS.read(opened.folder))
    questions = QUESTIONS.read(opened.folder)
    verdict = verdict_of(opened)
    cost: dict[str, int] = {}
    for line in said.values():
        for k, v in (line.get("cost") or {}).items():
            cost[k] = cost.get(k, 0) + v
    found: dict[str, Any] = {
        "run": str(opened.folder),
        "state": state_of(opened),
        "verdict": verdict,
        "result": opened.about.get("result"),
        "questions": len(questions),
        "labels": sum(s["label"] is not None for s in said.values()),
        "unusable": sum(s["label"] is None for s in said.values()),
        "waiting": sum(q["id"] not in said for q in questions),
        "cost": cost,
        "agreement": _agreement(opened.folder, questions),
    }
    if json_:
        print(json_text(found))
        return 0
    says = verdict["says"] if verdict else "no verdict yet"
    print(screen.wrapped(visible(f"{run}: {state_said(opened)}; {says}")))
    for note in unsaid(opened):
        print(screen.wrapped(f"watch: {note}"))
    if opened.readings():
        top = best(opened)
        print(screen.wrapped(visible(f"best: {top.name}: {top.reason}")))
    by = f" by {verdict['by']}" if verdict else ""
    print(
        f"{found['questions']} pairs asked, {found['labels']} labeled{by}, {found['unusable']} "
        "without a usable answer, "
        f"{found['waiting']} waiting"
        + "".join(f", {v:,} {k.replace('_', ' ')}" for k, v in cost.items())
    )
    if found["agreement"]["pairs"]:
        print(screen.wrapped(agreed(found["agreement"])))
    return 0


def verdict_of(run: Any) -> dict[str, Any] | None:
    """The last verdict of a run: of its own watch, else of one that looked at it afterwards."""
    from assay.records.verdicts import afterwards, during

    looks = during(run.folder, run.readings()) or afterwards(run.folder)
    return looks[-1] if looks else None


def unsaid(run: Any) -> list[str]:
    """What a run's first verdict notes and its line leaves out: what the whole plan can find."""
    first = next((r["watch"] for r in run.readings() if r["watch"]), None)
    said = {} if first is None else first
    return [n for n in said.get("notes", []) if n not in said.get("says", "")]


def _agreement(folder: Path, questions: list[Any]) -> dict[str, Any]:
    """How far people agree; only they are asked twice."""
    from assay.watch.labelers.agreement import agreement
    from assay.watch.labelers.people import LabelStore, for_people

    return LabelStore(folder).agreement() if any(map(for_people, questions)) else agreement([])


def agreed(found: dict[str, Any]) -> str:
    """How far labels agree, for a person."""
    kappa = "" if found["kappa"] is None else f", kappa {found['kappa']:.2f}"
    flip = (
        ""
        if found["flip"] is None
        else (
            f"; labels err at a rate of about {found['flip']:.2f} (--flip), and of at least "
            f"{found['flip_least']:.2f} (--flip-least), if errors are independent"
        )
    )
    return (
        f"{found['pairs']} pairs were labeled twice and agree in {found['agree']:.0%}{kappa}{flip}"
    )


def export_(run: str, sheet: str, *, twice: float = 0.1, json_: bool = False) -> int:
    """Write the pairs that wait for a label as a sheet.

    Fill in its column `better` with 1, 2 or =, then: assay watch import RUN SHEET

    Args:
        run: The folder of a run.
        sheet: The CSV file to write.
        twice: The share of pairs asked a second time, to see how far labels agree.

    Example:
        assay watch export runs/grpo sheet.csv
        assay watch export runs/grpo sheet.csv --twice 0.2
    """
    from assay.watch.labelers import sheet as sheets

    n = sheets.export(run, sheet, twice=twice)
    if json_:
        print(json_text({"sheet": sheet, "pairs": n}))
    else:
        print(
            f"{sheet}: {n} pairs; fill in the column `better` with 1, 2 or =, then: assay watch "
            f"import {run} {sheet}"
        )
    return 0


def import_(run: str, sheet: str, *, by: str = "", json_: bool = False) -> int:
    """Read a sheet that people filled in.

    Args:
        run: The folder of a run.
        sheet: The CSV file that `assay watch export` wrote.
        by: Who filled it in.

    Example:
        assay watch import runs/grpo sheet.csv
        assay watch import runs/grpo sheet.csv --by alice
    """
    from assay.watch.labelers import sheet as sheets

    found = sheets.load(run, sheet, by=by)
    if json_:
        print(json_text({"run": run, **found}))
    else:
        parts = [f"{counted(found['new'], 'new label')} of {found['read']} read"]
        if found["corrected"]:
            parts.append(f"{counted(found['corrected'], 'label')} corrected")
        if found["known"]:
            parts.append(f"{found['known']} were labeled before and stay")
        if found["used"]:
            parts.append(
                f"{found['used']} differ from the sheet's earlier labels, which a verdict has "
                "used, and stay as they were"
            )
        waits = "1 pair waits" if found["waiting"] == 1 else f"{found['waiting']} pairs wait"
        print(screen.wrapped(f"{', '.join(parts)}; {waits}"))
        if found["agreement"]["pairs"]:
            print(screen.wrapped(agreed(found["agreement"])))
    return _left(run, found["waiting"])


def page_(
    run: str, *, port: int = 0, twice: float = 0.1, by: str = "page", json_: bool = False
) -> int:
    """Label the pairs that wait in a browser, with the keys 1, 2 and =.

    Args:
        run: The folder of a run.
        port: The port on this machine, 0 for a free one.
        twice: The share of pairs asked a second time, to see how far labels agree.
        by: Who labels.

    Example:
        assay watch page runs/grpo
        assay watch page runs/grpo --by alice --port 8080
    """
    from assay.watch.labelers.page import LabelPage

    served = LabelPage(run, port=port, twice=twice, by=by)
    at = served.start()
    print(json_text({"address": at}) if json_ else f"open {at}  (Ctrl-C ends it)", flush=True)
    try:
        served.wait()
    except KeyboardInterrupt:
        print("", file=sys.stderr)
    served.stop()
    waiting = len(served.store.waiting())
    print(f"{len(served.mine)} labels given here, {waiting} pairs wait", file=sys.stderr)
    return _left(run, waiting)


def counted(n: int, what: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "look"), counted(2, "look")
        ('1 look', '2 looks')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"


def _left(run: str, waiting: int) -> int:
    """0 where the run can go on; else exit code 3, saying where to fill in."""
    if waiting:
        raise Waiting(
            f"{waiting} pairs of {run} wait for a label: assay watch page {run}, or assay "
            f"watch export {run} "
            "sheet.csv"
        )
    return 0
