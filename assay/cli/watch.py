"""watch: label budgets spent on finished runs, and the questions of running ones taken to people
and back.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.cli import flags
from assay.cli.flags import Flag
from assay.errors import InputError, Waiting

JSON = {"json": Flag("json", bool, False, "print JSON")}
TWICE = {"twice": Flag("twice", float, 0.1, "the share of pairs asked a second time")}


def watch_(argv: list[str]) -> int:
    """assay watch RUN [--by gold|FILE.py:function|csv|page|http://…] [--budget 550] [--alpha 0.05]
       [--delta 0.01] [--flip 0] … assay watch status RUN assay watch export RUN SHEET.csv [--twice
       0.1] assay watch import RUN SHEET.csv [--by NAME] assay watch page RUN [--port N] [--twice
       0.1] [--by NAME]

    The first looks at a finished run as --watch looks at one that goes on (assay run NAME --watch
    gold): at each kept policy it buys labels and says go on, cannot tell, or stop. The run needs to
    have been made with --policies. What was labeled before is not paid for again. It writes
    watch.json into the run's folder, and exits 3 while people have yet to answer.

    status: the verdict so far, and what waits for a label. export: the pairs that wait, as a sheet;
    fill in its column `better` with 1, 2 or =. import: read it back. page: judge them in a browser
    with the keys 1, 2 and =. --twice: the share of pairs asked a second time, to see how far labels
    agree. Every form takes --json.
    """
    acts = {"status": status, "export": export, "import": import_, "page": page}
    if argv and argv[0] in acts:
        return acts[argv[0]](argv[1:])
    return finished(argv)


def _asked(
    argv: list[str], known: dict[str, Flag], what: str, *names: str
) -> tuple[list[str], dict[str, Any]]:
    words, given = flags.split(argv, ["json"])
    options = flags.parse(given, known, what)
    if len(words) != len(names):
        raise InputError(
            f"{what} takes {' and '.join(names)}, and found {', '.join(words) or 'nothing'}"
        )
    return words, options


def finished(argv: list[str]) -> int:
    """Watch a finished run."""
    from assay.watch.session import Watching

    known = {**flags.of(Watching, without=()), **JSON}
    (folder,), options = _asked(argv, known, "assay watch", "the folder of a run")
    from assay.cli import replay
    from assay.watch.labelers import choose

    quiet = bool(options.pop("json", False))
    asked = Watching(**options)
    choose.possible(asked.by, asked.model)
    looks = []
    for look in replay.looks(Path(folder), asked):
        looks.append(look)
        print(
            f"step {look['step']:>4}  {look['says']}",
            file=sys.stderr if quiet else sys.stdout,
            flush=True,
        )
    if not looks:
        raise InputError(f"{folder} has no reading to look at")
    if quiet:
        print(
            json.dumps(
                {"run": folder, "watch": asdict(asked), "verdict": looks[-1], "looks": len(looks)},
                ensure_ascii=False,
            )
        )
    return 0


def status(argv: list[str]) -> int:
    """What is known of a run, and what waits."""
    (folder,), options = _asked(argv, JSON, "assay watch status", "the folder of a run")
    from assay.records.runs import Run, read_lines
    from assay.watch.labelers.questions import standing

    run = Run.open(folder)
    said = standing(read_lines(run.folder / "labels.jsonl"))
    questions = read_lines(run.folder / "questions.jsonl")
    verdict = verdict_of(run)
    cost: dict[str, int] = {}
    for line in said.values():
        for k, v in (line.get("cost") or {}).items():
            cost[k] = cost.get(k, 0) + v
    found = {
        "run": str(run.folder),
        "state": run.about["state"],
        "verdict": verdict,
        "result": run.about.get("result"),
        "questions": len(questions),
        "labels": sum(s["label"] is not None for s in said.values()),
        "unusable": sum(s["label"] is None for s in said.values()),
        "waiting": sum(q["id"] not in said for q in questions),
        "cost": cost,
        "agreement": _agreement(run.folder, questions),
    }
    if options.get("json"):
        print(json.dumps(found, ensure_ascii=False))
        return 0
    print(f"{folder}: {found['state']}; " + (verdict["says"] if verdict else "no verdict yet"))
    print(
        f"{found['questions']} pairs asked, {found['labels']} labeled, {found['unusable']} "
        f"without a usable answer, {found['waiting']} waiting"
        + "".join(f", {v:,} {k.replace('_', ' ')}" for k, v in cost.items())
    )
    if found["agreement"]["pairs"]:
        print(agreed(found["agreement"]))
    return 0


def verdict_of(run: Any) -> dict[str, Any] | None:
    """The last verdict of a run: of its own watch, else of one that looked at it afterwards."""
    own = [r["watch"] for r in run.readings() if r["watch"]]
    after = run.folder / "watch.json"
    if own or not after.exists():
        return own[-1] if own else None
    looks = json.loads(after.read_text(encoding="utf-8"))["looks"]
    return looks[-1] if looks else None


def _agreement(folder: Path, questions: list[Any]) -> dict[str, Any]:
    from assay.watch.labelers.agreement import agreement
    from assay.watch.labelers.people import Desk

    return Desk(folder).agreement() if questions else agreement([])


def agreed(found: dict[str, Any]) -> str:
    """How far labels agree, for a person."""
    kappa = "" if found["kappa"] is None else f", kappa {found['kappa']:.2f}"
    flip = (
        ""
        if found["flip"] is None
        else (
            f"; labels err at a rate of about {found['flip']:.2f} (--flip), and of at least "
            f"{found['flip_least']:.2f} (--flip_least), if errors are independent"
        )
    )
    return (
        f"{found['pairs']} pairs were judged twice and agree in {found['agree']:.0%}{kappa}{flip}"
    )


def export(argv: list[str]) -> int:
    """The pairs that wait, as a sheet."""
    (folder, path), options = _asked(
        argv, {**JSON, **TWICE}, "assay watch export", "the folder of a run", "a CSV file to write"
    )
    from assay.watch.labelers import sheet

    n = sheet.export(folder, path, twice=options.get("twice", 0.1))
    if options.get("json"):
        print(json.dumps({"sheet": path, "pairs": n}))
    else:
        print(
            f"{path}: {n} pairs; fill in the column `better` with 1, 2 or =, then: assay watch "
            f"import {folder} {path}"
        )
    return 0


def import_(argv: list[str]) -> int:
    """A sheet that people filled in, into the run's ledger."""
    known = {**JSON, "by": Flag("by", str, "", "who filled it in")}
    (folder, path), options = _asked(
        argv, known, "assay watch import", "the folder of a run", "a CSV file"
    )
    from assay.watch.labelers import sheet

    found = sheet.load(folder, path, by=options.get("by", ""))
    if options.get("json"):
        print(json.dumps({"run": folder, **found}))
    else:
        print(
            f"{found['new']} new labels of {found['read']} read, {found['known']} were labeled "
            f"before and stay; {found['waiting']} pairs wait"
        )
        if found["agreement"]["pairs"]:
            print(agreed(found["agreement"]))
    return _left(folder, found["waiting"])


def page(argv: list[str]) -> int:
    """A page on this machine where a person judges pairs."""
    known = {
        **JSON,
        **TWICE,
        "port": Flag("port", int, 0, "the port, 0 for a free one"),
        "by": Flag("by", str, "page"),
    }
    (folder,), options = _asked(argv, known, "assay watch page", "the folder of a run")
    from assay.watch.labelers.page import Page

    served = Page(
        folder,
        port=options.get("port", 0),
        twice=options.get("twice", 0.1),
        by=options.get("by", "page"),
    )
    at = served.start()
    print(
        json.dumps({"address": at}) if options.get("json") else f"open {at}  (Ctrl-C ends it)",
        flush=True,
    )
    try:
        served.done.wait()
    except KeyboardInterrupt:
        print("", file=sys.stderr)
    served.stop()
    waiting = len(served.desk.waiting())
    print(f"{len(served.mine)} labels given here, {waiting} pairs wait", file=sys.stderr)
    return _left(folder, waiting)


def _left(folder: str, waiting: int) -> int:
    """0 where the run can go on; else exit code 3, saying where to fill in."""
    if waiting:
        raise Waiting(
            f"{waiting} pairs of {folder} wait for a judgement: assay watch page {folder}, or "
            f"assay watch export {folder} sheet.csv"
        )
    return 0
