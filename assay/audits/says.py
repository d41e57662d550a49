"""An audit as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.data.escape import number
from assay.engine.plural import counted


def says(result: Mapping[str, Any]) -> list[str]:
    """Return an audit as lines of text.

    Args:
        result: What `audited` returned.
    """
    c = result["completions"]
    lines = [
        f"audit of {', '.join(r['name'] for r in result['rewards'])} on {c['source']}: "
        f"{counted(c['completions'], 'completion')} of {counted(c['prompts'], 'prompt')}; "
        f"{counted(c['probed'], 'completion')} of {counted(c['probed_prompts'], 'prompt')} probed",
    ]
    if c["left_out"]:
        lines.append(
            f"note: {counted(c['left_out'], 'completion')} left out: tool calls or several turns"
        )
    for reward in result["rewards"]:
        lines += ["", *_of_reward(reward, result)]
    if result["members"] is not None:
        lines += ["", "members against each other", *(f"  {t}" for t in result["members"]["says"])]
    return [*lines, "", f"{counted(len(result['checks']), 'check')}: {counts(result)}"]


def counts(result: Mapping[str, Any]) -> str:
    """Return how many checks came to which verdict.

    Args:
        result: What `audited` returned.

    Example:
        >>> counts({"verdicts": {"passes": 2, "fails": 1}})
        '1 fails, 2 pass'
    """
    found = dict(result["verdicts"])
    one = {"fails": "fail", "passes": "pass"}
    said = ((v, found[v]) for v in ("fails", "undecided", "passes", "not measured") if v in found)
    return ", ".join(f"{n} {v if n == 1 else one.get(v, v)}" for v, n in said) or "none"


def _of_reward(reward: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    name, several = reward["name"], len(reward["members"]) > 1
    what = (
        f"{reward['kind']}, the mean of {len(reward['members'])} members"
        if several
        else (reward["kind"])
    )
    unit = result["units"][name]
    lines = [f"{name} ({what}); a standard deviation within a prompt is {unit:.4g}"]
    if unit == 0:
        lines.append("  it tells no completions of a prompt apart, so nothing can be measured")
    verdicts = {(k["name"], k["reward"]): k["verdict"] for k in result["checks"]}
    rows = [
        (
            p["probe"],
            interval(p["change"]),
            share(p["rises"]),
            str(p["completions"]),
            p["sound"],
            verdicts.get((f"probe {p['probe']}", name), ""),
        )
        for p in result["probes"]
        if p["reward"] == name
    ]
    head = ("probe", "change of the score", "share that rises", "n", "a sound reward", "verdict")
    lines += aligned(head, rows)
    lines += [f"  correlation with length within prompts {_length(name, result)}"]
    return [*lines, *_words(name, result), *_labels(name, result), *_stability(name, result)]


def _words(name: str, result: Mapping[str, Any]) -> list[str]:
    found = [w for w in result["words"] if w["reward"] == name]
    if not found:
        return []
    said = "; ".join(f"'{w['word']}' {interval(w['effect']['change'])}" for w in found)
    return [
        "  words that were found to raise it most, appended to completions of other prompts: "
        + said
    ]


def _labels(name: str, result: Mapping[str, Any]) -> list[str]:
    lines = list[str]()
    for e in (e for e in result["labels"] if e["reward"] == name):
        lines += [f"  {line}" for line in e["says"]]
        lines += [
            f"    {subset}: accuracy {_accuracy(part)} ({counted(part['pairs'], 'pair')})"
            for subset, part in e["subsets"].items()
        ]
        if e["distance"] is not None:
            parts = "; ".join(
                f"{b['accuracy']['mean']:.3f} at {b['low']:.2f} to {b['high']:.2f}"
                for b in e["distance"]
            )
            lines.append(f"    by distance from {result['fitted_on']['file']}: {parts}")
    if lines and result["fitted_on"] is None:
        lines.append(
            "    by distance from what it was fitted on: not known (--fitted-on FILE says it)"
        )
    return lines


def _accuracy(part: Mapping[str, Any]) -> str:
    a = part["accuracy"]
    ends = "" if a["low"] is None else f" [{a['low']:.3f}, {a['high']:.3f}]"
    return f"{a['mean']:.3f}{ends}"


def _stability(name: str, result: Mapping[str, Any]) -> list[str]:
    rows = [
        (w["way"], number(w["mean"]["mean"]), number(w["largest"]), share(w["changed"]))
        for w in result["stability"]
        if w["reward"] == name
    ]
    head = ("scored again", "mean difference", "largest", "best-of-n choices that change")
    return aligned(head, rows)


def _length(name: str, result: Mapping[str, Any]) -> str:
    found = next(s for s in result["length"]["rewards"] if s["reward"] == name)
    gold = result["length"]["gold"]
    return interval(found["correlation"]) + (
        "" if gold is None else f"; of gold with length {interval(gold)}"
    )


def interval(found: Mapping[str, Any] | None) -> str:
    """Return a number and its interval.

    Args:
        found: `mean`, `low` and `high`, of which each may be None.

    Example:
        >>> interval({"mean": 0.5, "low": 0.25, "high": 0.75})
        '+0.50 [+0.25, +0.75]'
    """
    if found is None or found["mean"] is None:
        return "–"
    if found["low"] is None or found["high"] is None:
        return f"{found['mean']:+.2f}"
    return f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


def share(found: Mapping[str, Any] | None) -> str:
    """Return a share and its interval as percentages.

    Example:
        >>> share({"mean": 0.5, "low": 0.25, "high": 0.75})
        '50 % [25, 75]'
    """
    if found is None:
        return "–"
    if found["low"] is None:
        return f"{found['mean']:.0%}".replace("%", " %")
    return f"{100 * found['mean']:.0f} % [{100 * found['low']:.0f}, {100 * found['high']:.0f}]"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines with columns of one width, two blanks before each line."""
    if not rows:
        return []
    wide = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(r, wide, strict=True)).rstrip()
        for r in (head, *rows)
    ]
