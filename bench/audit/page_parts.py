"""The page's further tables: kinds, settings, levels, luck, runs that are listed, SmolLM2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.audit.judged import RULES
from bench.watch.cells import table

Found = Mapping[str, Any]


def cell(x: Mapping[str, float | None], digits: int = 2) -> str:
    """A value and its interval."""
    value, low, high = ("–" if v is None else f"{v:.{digits}f}" for v in x.values())
    return f"{value} [{low}, {high}]"


def settings(d: Found) -> str:
    """Rank within kinds by noise and label count."""
    names = [r for r in RULES if RULES[r]]
    rows = [
        [
            what,
            f"{x['turned']} of {x['runs']}",
            *(cell(x["rules"][r]["rank within kinds"]) for r in names),
            cell(x["rules"]["members"]["coverage"]),
        ]
        for what, x in d.items()
    ]
    head = ["the table's runs with", "turned", *names, "members' coverage"]
    return "Rank within kinds of each rule, on new seeds of known kinds:\n\n" + table(head, rows)


def levels(d: Found) -> str:
    """Nominal and measured coverage."""
    rows = [
        [
            f"{100 * float(level):.0f} %",
            *(cell(x[q][m]) for q in ("known", "new") for m in ("coverage", "width, factor")),
        ]
        for level, x in d.items()
    ]
    head = ["nominal", "known kinds: coverage", "width", "unseen kinds: coverage", "width"]
    return table(head, rows)


def by_kind(found: Found) -> str:
    """Rank of every rule within each kind of world, and how far the members' is above it."""
    d, minus = found["rules by kind"], found["members minus by kind"]
    rules = [r for r in d if RULES[r]]
    rows = [[kind, *(cell(d[r][kind]["rank"]) for r in rules)] for kind in d["members"]]
    text = "Rank of each rule by kind of world:\n\n" + table(["kind", *rules], rows)
    others = [r for r in rules if r != "members"]
    rows = [[kind, *(cell(minus[r][kind]) for r in others)] for kind in d["members"]]
    text += "\nThe members' rank minus another rule's, by kind of world:\n\n"
    return text + table(["kind", *others], rows)


def listed(d: Any) -> str:
    """Runs of kinds that have too few for a rank."""
    text = (
        "Too few for a rank or a share; the calibration has not seen these kinds. Accuracy is the "
        "proxy's on pairs of the reference's completions.\n\n"
    )
    rows = [
        [
            f"{x['kind']} {x['seed']}",
            f"{x['accuracy']:.2f}",
            f"{x['predicted']:.2f} [{x['low']:.2f}, {x['high']:.2f}]",
            f"{x['d']:.2f}" if x["turned"] else f"not by {x['d']:.2f}",
            "yes" if x["held"] else "no",
        ]
        for x in d
    ]
    head = ["run", "accuracy", "predicted √KL", "turned at", "interval holds"]
    return text + table(head, rows)


def luck(d: Found) -> str:
    """What another run of the same world says, beside the rules on the same runs."""
    text = (
        "Ten worlds of each kind, each trained three times with other prompts and completions "
        "drawn (`python -m bench.audit again`). Rank: Somers' D of where one run turns as the "
        "prediction of where another of the same world does, and of each rule on the same runs. "
        "Share of luck: of the variance of log √KL at the turn within a kind, that between "
        "trainings of one world.\n\n"
    )
    rules = [r for r in RULES if RULES[r]]
    rows = [
        [
            kind,
            f"{x['turned']} of {x['runs']}",
            *(cell(x[name]) for name in ("another run", *rules, "share of luck")),
        ]
        for kind, x in d.items()
    ]
    return text + table(["kind", "turned", "another run", *rules, "share of luck"], rows)


def smollm2(d: Found) -> str:
    """The recorded runs and how the rules do on those that the prediction is about."""
    text = (
        "SmolLM2-135M-Instruct with five reward models that count words, fitted to labels of which "
        "a share is wrong (`bench/watch/pretrained.py`); the runs are those of the watch's bench. "
        "Before each run the reward models score 64 completions of 24 prompts; the calibration is "
        "the library's, which knows worlds of `table` alone. Each run has 13 readings of 96 "
        "completions. *Range*: where gold may have turned, 10 % to 90 % over resampled prompts and "
        "running means of 1, 3 or 5 readings; *falls*: the share of these resamples in which it "
        "turns at all. Accuracy is that on the pairs of the reference's 96 completions.\n\n"
    )
    rows = [_row(x) for x in d["runs"]]
    head = ["training", "labels wrong", "reward models' seed", "accuracy", "predicted √KL"]
    text += table([*head, "turned at", "range", "falls", "interval holds"], rows)
    text += (
        "\nRuns with KL and runs that stop after three steps are not what the prediction is about. "
        "On the others (Somers' D with the share of all orders of the predictions that are as far "
        "from 0; coverage with Clopper and Pearson's interval, as if runs were independent, though "
        "two share a seed of training; *meets the range*: intervals that meet the range of the "
        "turn, which is open above where fewer than 90 % of the resamples turn):\n\n"
    )
    rules = [
        [
            rule,
            "–" if x["rank"] is None else f"{x['rank']:.2f} (p = {x['p']:.2f})",
            str(x["pairs"]),
            f"{x['covered']} of {x['runs']} [{x['interval'][0]:.2f}, {x['interval'][1]:.2f}]",
            f"{x['covered at all']} of {x['runs']}",
        ]
        for rule, x in d["rules"].items()
    ]
    return text + table(["rule", "rank", "pairs", "coverage", "meets the range"], rules)


def _row(x: Found) -> list[str]:
    """One recorded run."""
    how = "no KL" if x["recipe"] == "leave_one_out" else "KL in the loss"
    how += "" if x["stop"] is None else f", {x['stop']} steps"
    by = x["rules"]["members"]
    holds = by["low"] <= x["d"] <= by["high"] if x["turned"] else by["high"] >= x["d"]
    shown = ("yes" if holds else "no") if x["asked"] else "not asked"
    return [
        f"{x['seed']}: {how}",
        f"{100 * x['wrong']:.0f} %",
        str(x["world_seed"]),
        f"{x['reads']['accuracy']:.2f}",
        f"{by['d']:.2f} [{by['low']:.2f}, {by['high']:.2f}]",
        f"{x['d']:.2f}" if x["turned"] else f"not by {x['d']:.2f}",
        f"{x['range']['low']:.2f} to {x['range']['high']:.2f}",
        f"{100 * x['range']['turned']:.0f} %",
        shown,
    ]
