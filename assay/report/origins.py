"""What the runs cost, what went wrong in them, and where they came from."""

from __future__ import annotations

import json
from dataclasses import dataclass

from assay.data.escape import count, number
from assay.records.best import state_of, state_said
from assay.records.methods import Ground, Track
from assay.records.result import without_reward
from assay.records.same_world import flat
from assay.report import flags
from assay.report.render import counted
from assay.report.table import Cell, Table, named
from assay.stats.readings import reference
from assay.stats.training import told, troubles

# what the command of a run says
TYPED = ("arguments", "loop", "seed", "world", "fit", "watch", "recipe", "path", "verb")


def costs(ground: Ground) -> Table:
    """What each run spent by its last reading, and what its completions had become."""
    spent = ("generated", "scored", "compared", "labels", "updates")
    rows: list[list[Cell | str]] = []
    for m in ground.methods:
        for t in m.tracks:
            last = t.readings[-1] if t.readings else {}
            cost, stats = last.get("cost") or {}, last.get("stats") or {}
            rows.append(
                [
                    named(m, beside=t.name),
                    *[count(last.get(k)) for k in spent],
                    number(last.get("seconds")),
                    f"{count(cost.get('generated'))} / {count(cost.get('scored'))}",
                    number(stats.get("read/length")),
                    number(stats.get("read/truncated")),
                ]
            )
    return Table(
        f"What it cost, {ground.title}",
        [
            "run",
            "completions generated",
            "scored",
            "pairs compared",
            "gold labels",
            "updates",
            "seconds",
            "one completion: generated / scored",
            "mean length at the end",
            "share truncated",
        ],
        rows,
        "Counted over the whole optimisation; evaluation is not counted. “One completion” is what "
        "a single completion of the "
        "result costs its user.",
    )


def faults(ground: Ground) -> list[str]:
    """What went wrong or is missing: a sentence a run, or one for all runs with the same fault."""
    said = []
    skipped: dict[str, str] = {}
    cut: dict[str, str] = {}
    for t in ground.tracks:
        about, stats = t.about, [r["stats"] or {} for r in t.readings]
        if about.get("state") != "done":
            said.append(f"{t.name} {'' if _acts(t) else 'is '}{state_said(t.run)}.")
        if t.readings and reference(t.readings) is None:
            said.append(
                f"{t.name} has no reading of the reference; its {ground.gold_name} is counted "
                "from its first reading."
            )
        if about.get("replayable") is False:
            said.append(
                f"{t.name} cannot be replayed: its sampler does not promise the same completion "
                "twice."
            )
        if steps_lost := sum(s.get("skipped") or 0 for s in stats):
            skipped[t.name] = count(steps_lost)
        if (most := max((s.get("read/truncated") or 0 for s in stats), default=0)) >= 0.05:
            cut[t.name] = f"{100 * most:.0f} %"
        if lacking := without_reward(about.get("result")):
            said.append(f"{t.name}: {lacking}.")
        for warning in about.get("warnings") or []:
            said.append(f"{t.name}, step {warning['step']}: {warning['what']}. {warning['advice']}")
        for trouble in troubles(t.readings):
            if any(told(w, trouble) for w in about.get("warnings") or []):
                continue
            said.append(
                f"{t.name}, in {trouble.looks} of {counted(trouble.of, 'reading')}: "
                f"{trouble.what}. "
                f"{trouble.advice}"
            )
    for what, runs in (
        ("Steps skipped because they were not finite", skipped),
        ("Completions truncated at the length limit, at worst", cut),
    ):
        if runs:
            said.append(f"{what}: {', '.join(f'{k} {v}' for k, v in runs.items())}.")
    commits = sorted({str(t.about.get("commit")) for t in ground.tracks})
    if len(commits) > 1:
        said.append(
            f"These runs come from {len(commits)} commits of the code: "
            f"{', '.join(c[:12] for c in commits)}."
        )
    return said


def _acts(track: Track) -> bool:
    """Whether the state's clause begins with its verb: "failed: …", "stopped without a word …"."""
    return state_of(track.run) in ("failed", "stopped")


@dataclass
class Record:
    """What a run's run.json says.

    Attributes:
        name: The run's folder.
        what: Its recipe and its state.
        command: The command that starts a run like it, word by word; [] where none does.
        table: The entries that the command does not say, without those that were left open.
    """

    name: str
    what: str
    command: list[str]
    table: Table


def provenance(track: Track) -> Record:
    """A run's record: the command that starts one like it, and the rest as a table."""
    told = flags.command(track.about)
    aside = {"paper", *(TYPED if told else ())}
    entries = flat({k: v for k, v in track.about.items() if k not in aside})
    run = {f"run.{k}" for k in (track.about.get("run") or {}) if k not in flags.BY_ITSELF}
    rows: list[list[Cell | str]] = [
        [k, Cell(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False), code=True)]
        for k, v in entries.items()
        if v is not None and v not in ("", [], {}) and not (told and k in run)
    ]
    what = f"{track.about.get('recipe') or '–'}, {state_of(track.run)}"
    table = Table(f"Record of {track.name}", ["entry", "value"], rows)
    return Record(track.name, what, told, table)
