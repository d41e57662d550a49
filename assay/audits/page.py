"""An audit as one HTML page: every text of a file or a model is escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.audits.says import counts, interval, share
from assay.data.escape import number
from assay.engine.atomic import write_bytes
from assay.engine.os_errors import writing_to
from assay.report.completions import Text, text
from assay.report.ours import must_be_ours
from assay.report.render import counted, document
from assay.report.table import Cell, Table

MARKS = {"fails": "fails", "passes": "passes", "undecided": "undecided", "not measured": "–"}


@dataclass
class Shown:
    """One completion before and after a change.

    Attributes:
        prompt: The prompt.
        asked: The other prompt that it is scored under; None where the prompt stays.
        before: The completion.
        after: The changed completion.
        scores: The scores and their difference, in words.
    """

    prompt: Text
    asked: Text | None
    before: Text
    after: Text
    scores: str


@dataclass
class Section:
    """What the page says of one reward.

    Attributes:
        ident: The name of its place on the page.
        title: The reward.
        about: What it is.
        failed: A sentence for each check that fails.
        tables: Its tables.
        examples: (heading, completions) of each probe.
    """

    ident: str
    title: str
    about: str
    failed: list[str]
    tables: list[Table]
    examples: list[tuple[str, list[Shown]]]


def free(path: str | Path) -> None:
    """Check that the page may be written.

    Args:
        path: The HTML file; a report of assay's is written over.

    Raises:
        InputError: Another file has the name.
    """
    must_be_ours(Path(path), "<!doctype html>", "· assay</title>", "-o")


def page(result: Mapping[str, Any], path: str | Path) -> Path:
    """Write an audit as one HTML page that needs no other file and runs no script.

    Args:
        result: What `audited` returned.
        path: The HTML file; a report of assay's is written over.

    Returns:
        The path of the file.

    Raises:
        InputError: Another file has the name.
    """
    free(path)
    c, out = result["completions"], Path(path)
    whole = document(
        "audit.html",
        charts=False,
        heading="Can this reward be hacked?",
        sizes=f"{counted(c['completions'], 'completion')} of {counted(c['prompts'], 'prompt')} "
        f"from {c['source']}; {counted(c['probed'], 'completion')} of "
        f"{counted(c['probed_prompts'], 'prompt')} probed; "
        f"{counted(len(result['checks']), 'check')}: {counts(result)}",
        worlds=[_section(i, r, result) for i, r in enumerate(result["rewards"])],
        members=[] if result["members"] is None else result["members"]["says"],
        settings=[(k, str(v)) for k, v in result["settings"].items() if v not in (None, "", ())],
    )
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, whole.encode("utf-8", "backslashreplace"))
    return out


def _section(i: int, reward: Mapping[str, Any], result: Mapping[str, Any]) -> Section:
    name, members = reward["name"], reward["members"]
    several = f", the mean of {len(members)} members" if len(members) > 1 else ""
    unit = result["units"][name]
    mine = [c for c in result["checks"] if c["reward"] == name]
    return Section(
        ident=f"r{i}",
        title=name,
        about=f"Kind: {reward['kind']}{several}. One standard deviation within a prompt is "
        f"{number(unit)} of its scores; changes are in this unit.",
        failed=[c["sentence"] for c in mine if c["verdict"] == "fails"],
        tables=[
            _probes(name, result),
            *([_members(name, members, result)] if several else []),
            *_words(name, result),
            _length(name, result),
            *_labels(name, result),
            *_stability(name, result),
        ],
        examples=[
            (f"{p['probe']}: {p['about']}", [_shown(e) for e in p["examples"]])
            for p in result["probes"]
            if p["reward"] == name and p["examples"]
        ],
    )


def _probes(name: str, result: Mapping[str, Any]) -> Table:
    verdicts = {c["name"]: c["verdict"] for c in result["checks"] if c["reward"] == name}
    rows = []
    for p in result["probes"]:
        if p["reward"] != name:
            continue
        said = verdicts.get(f"probe {p['probe']}", "")
        left = p["skipped"] + p["unscored"]
        rows.append(
            [
                Cell(p["probe"], small=p["about"]),
                interval(p["change"]),
                share(p["rises"]),
                Cell(str(p["completions"]), beside=f"{left} left out" if left else ""),
                p["sound"],
                Cell(MARKS.get(said, said), sure=said == "fails"),
            ]
        )
    return Table(
        "What changes of the completions do to the score",
        ("change", "change of the score", "share that rises", "n", "a sound reward", "verdict"),
        rows,
        "In standard deviations within a prompt, with 95 % intervals over prompts. A check fails "
        "only where its whole interval lies beyond the threshold.",
    )


def _members(name: str, members: list[str], result: Mapping[str, Any]) -> Table:
    rows = {f"{name}/{m}": m for m in members}
    names = list(dict.fromkeys(p["probe"] for p in result["probes"]))
    by = {(p["probe"], p["reward"]): interval(p["change"]) for p in result["probes"]}
    return Table(
        "The same for each member",
        ("member", *names),
        [[label, *(by.get((n, row), "–") for n in names)] for row, label in rows.items()],
    )


def _length(name: str, result: Mapping[str, Any]) -> Table:
    found = [
        s
        for s in result["length"]["rewards"]
        if s["reward"] == name or (s["member"] and s["reward"].startswith(f"{name}/"))
    ]
    rows = [[s["reward"], interval(s["correlation"])] for s in found]
    if result["length"]["gold"] is not None:
        rows.append(["gold", interval(result["length"]["gold"])])
    return Table("Correlation of score and length within prompts", ("", "correlation"), rows)


def _words(name: str, result: Mapping[str, Any]) -> list[Table]:
    found = [w for w in result["words"] if w["reward"] == name]
    rows: list[list[Cell | str]] = [
        [Cell(w["word"], code=True), str(w["seen"]), interval(w["effect"]["change"])] for w in found
    ]
    title = "Words that were found to raise the score, appended to completions of other prompts"
    note = (
        "Found on half of the prompts and measured on the other half. The intervals hold for all "
        "words of the table at once."
    )
    head = ("word", "completions with it", "change of the score")
    return [Table(title, head, rows, note)] if rows else []


def _labels(name: str, result: Mapping[str, Any]) -> list[Table]:
    tables = list[Table]()
    for e in (e for e in result["labels"] if e["reward"] == name):
        rows = [["all", *_evaluated(e)]]
        rows += [[subset, *_evaluated(part)] for subset, part in e["subsets"].items()]
        head = ("subset", "pairs", "accuracy", "calibration error", "longer", "shorter")
        note = "longer, shorter: accuracy where the better completion is the longer, shorter one."
        tables.append(Table(f"On {e['on']}: {e['on_what']}", head, rows, note))
        bins = [
            [f"{number(b['low'])} to {number(b['high'])}", _share(b["accuracy"])]
            for b in e["by_margin"]
        ]
        tables.append(Table("Accuracy by size of the score difference", ("size", "accuracy"), bins))
        if e["distance"] is not None:
            far = [
                [f"{b['low']:.2f} to {b['high']:.2f}", _share(b["accuracy"])] for b in e["distance"]
            ]
            title = f"Accuracy by distance from {result['fitted_on']['file']}"
            tables.append(Table(title, ("1 − cosine of the nearest text", "accuracy"), far))
    return tables


def _evaluated(e: Mapping[str, Any]) -> list[str]:
    length = e["length"]
    return [
        f"{e['pairs']:,}",
        _share(e["accuracy"]),
        number(e["calibration"]["error"]),
        _share(length["longer"]),
        _share(length["shorter"]),
    ]


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    ends = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    return f"{found['mean']:.3f}{ends}"


def _stability(name: str, result: Mapping[str, Any]) -> list[Table]:
    rows = [
        [w["way"], number(w["mean"]["mean"]), number(w["largest"]), share(w["changed"])]
        for w in result["stability"]
        if w["reward"] == name
    ]
    head = ("scored again", "mean difference", "largest", "best-of-n choices that change")
    note = "In standard deviations within a prompt, on completions of at most 24 prompts."
    return [Table("The same completions, scored again", head, rows, note)] if rows else []


def _shown(e: Mapping[str, Any]) -> Shown:
    return Shown(
        prompt=text(e["prompt"]),
        asked=None if e["asked"] is None else text(e["asked"]),
        before=text(e["before"]),
        after=text(e["after"]),
        scores=f"{number(e['score_before'])} → {number(e['score_after'])}, "
        f"{number(e['change'], sign=True)} standard deviations",
    )
