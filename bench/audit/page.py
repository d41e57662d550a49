"""docs/audit-bench.md from bench/results/audit.json. Prints what is there; decides nothing."""

from __future__ import annotations

from typing import Any

from bench.audit import page_parts, page_says
from bench.audit.page_parts import cell
from bench.audit.worlds import KINDS
from bench.watch.cells import table

MEASURES = ("rank", "rank within kinds", "coverage", "width, factor", "error, factor")
HEAD = """# The predicted turning point, measured

Written by `python -m bench.audit page` from `bench/results/audit.json`; `make bench-audit` makes
everything again. `assay.audits` lets one reward model of an ensemble choose the best of n of the
reference's completions and the others read its choice, and predicts from that where a policy
gradient against it turns, in √KL. Here the prediction is made before a run, and the run is then
made without KL and without a watch (`leave_one_out` against the first reward model).

A run **turns** at the peak of gold's running mean over five readings, if gold later falls by 0.1
below it (gold's standard deviations under the reference). A run that does not turn is *censored*
at its largest √KL. *Rank*: Somers' D of predicted and measured turning points over the pairs of
runs whose order is known (1, 0, −1; Kendall's τ without censoring). *Rank within kinds*: its mean
over kinds of world, so that telling kinds apart does not count. *Coverage*: the share of runs
whose turning point is in the interval, or whose end the interval reaches where it did not turn;
nominal 80 %. *Width*: the upper end over the lower, median. *Error*: how far off, as a factor,
median over runs that turned. Brackets are 95 % intervals from resampled seeds. Every rule is the
same regression with another feature. `bench/audit/worlds.py` says worlds, seeds and comparisons;
it was committed before the runs.
"""


def page(d: dict[str, Any]) -> str:
    """The page."""
    text = HEAD + "\n## The runs\n\n" + runs(d)
    for question, found in d["questions"].items():
        text += f"\n## {question[0].upper() + question[1:]}\n\n"
        text += rules(found["rules"])
        text += "\nThe members' rank correlation minus another rule's, on the same runs:\n\n"
        text += minus(found["members minus"])
        text += "\nThe members, by kind of world:\n\n" + rules(found["kinds"], "kind")
        text += "\n" + page_parts.by_kind(found)
    text += "\n## Fewer completions\n\n"
    text += "New seeds of known kinds and the calibration as above; the members read fewer.\n\n"
    text += rules(d["fewer completions"], "completions a prompt")
    text += "\n## By noise and label count\n\n" + page_parts.settings(d["settings"])
    text += "\n## Other levels of the interval\n\n" + page_parts.levels(d["levels"])
    if d["luck"]:
        text += "\n## How far it can be known\n\n" + page_parts.luck(d["luck"])
    if d["listed"]:
        text += "\n## Kinds of few runs\n\n" + page_parts.listed(d["listed"])
    if d["smollm2"]:
        text += "\n## SmolLM2\n\n" + page_parts.smollm2(d["smollm2"])
    text += "\n## What it cannot predict\n\n" + page_says.cannot(d)
    return (
        text
        + "\n## When it says nothing\n\n"
        + "\n".join(silent(name, x) for name, x in d["predictions"].items() if x)
    )


def runs(d: dict[str, Any]) -> str:
    """Which runs there were."""
    rows = [
        [
            part,
            kind,
            "{} to {}".format(*x["seeds"]),
            f"{x['turned']} of {x['runs']}",
            "–" if x["quartiles"] is None else " / ".join(f"{q:.2f}" for q in x["quartiles"]),
        ]
        for part in ("develop", "report")
        for kind, x in d[part].items()
    ]
    never = [f"`{k}`" for k in KINDS if k not in d["report"]]
    never += [] if d["smollm2"] else ["real models"]
    missing = f"\nNot run yet: {', '.join(never)}.\n" if never else ""
    return table(["part", "kind", "seeds", "turned", "√KL at the turn, quartiles"], rows) + missing


def rules(found: dict[str, Any], what: str = "rule") -> str:
    """A row a rule."""
    rows = [[name, *(cell(x[m]) for m in MEASURES)] for name, x in found.items()]
    return table([what, *MEASURES], rows)


def minus(found: dict[str, Any]) -> str:
    """A row a rule, of differences."""
    names = ("rank", "rank within kinds")
    return table(
        ["other rule", *names], [[rule, *(cell(x[n]) for n in names)] for rule, x in found.items()]
    )


def silent(name: str, d: dict[str, Any]) -> str:
    """How often `predict` says nothing, and why."""
    every = d["predicted"] + sum(d["said nothing"].values())
    held = "–" if d["covered"] is None else f"{100 * d['covered']:.0f} %"
    text = (
        f"`assay.audits.turning.predict` on the {every} runs of `{name}` in the report says "
        f"something for {d['predicted']}; its interval, made by leaving out kinds of world and "
        f"wider by what other prompts would change, covers {held} of these.\n"
    )
    rows = [[why, str(n)] for why, n in sorted(d["said nothing"].items(), key=lambda x: -x[1])]
    head = ["what lies outside the calibration, or another reason", "runs"]
    return text + (f"\n{table(head, rows)}" if rows else "")
