"""What the page concludes: sentences that the numbers decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.audit.judged import RULES
from bench.audit.page_parts import cell

Found = Mapping[str, Any]


def cannot(d: Found) -> str:
    """What the numbers say that the prediction cannot do; each sentence is decided by them."""
    known = d["questions"]["new seeds of known kinds"]["members minus"]
    lines = [_against(rule, x) for rule, x in known.items() if RULES[rule]]
    lines += _better(d["questions"]["new seeds of known kinds"]["members minus by kind"])
    if d.get("luck"):
        ranks = d["questions"]["new seeds of known kinds"]["rules by kind"]
        lines += [
            _lucky(kind, x, {rule: r[kind]["rank"] for rule, r in ranks.items() if RULES[rule]})
            for kind, x in d["luck"].items()
        ]
    unseen = d["questions"]["kinds that the calibration has not seen"]
    lines += _wrong_way(unseen["rules by kind"])
    new = unseen["kinds"]
    lines += [
        f"Not having seen {kind}: {_coverage(x['coverage'])}; where gold turned, the "
        f"prediction was {_lean(x['lean'])}."
        for kind, x in new.items()
    ]
    if d["listed"]:
        held, kinds = sum(x["held"] for x in d["listed"]), sorted({x["kind"] for x in d["listed"]})
        lines.append(
            f"{', '.join(kinds)}: the interval held {held} of {len(d['listed'])} runs, which are "
            "too few to say how often it does."
        )
    if d.get("smollm2"):
        lines.append(_of_smollm2(d["smollm2"]))
    lines.append(
        "An error that all members share, of the labels or of what the models can express, is in "
        "no difference between members; nothing here can predict it."
    )
    return "".join(f"- {line}\n" for line in lines)


def _of_smollm2(d: Found) -> str:
    """How the interval did on the recorded runs, and why."""
    x, asked = d["rules"]["members"], [r for r in d["runs"] if r["asked"]]
    low, high = x["interval"]
    least, most = (f(r["reads"]["accuracy"] for r in asked) for f in (min, max))
    later = sum(not r["turned"] for r in asked)
    early = sum(r["turned"] and r["d"] < r["rules"]["members"]["low"] for r in asked)
    return (
        f"SmolLM2: the interval held {x['covered']} of {x['runs']} runs [{low:.2f}, {high:.2f}], "
        f"{'surely' if high < 0.8 else 'perhaps not'} fewer than 80 %. Gold had not turned at the "
        f"end of {later}, and in {early} it turned before the interval begins. The reward models "
        f"order {least:.2f} to {most:.2f} of the pairs of the reference's completions as gold "
        "does, where half is chance: what their members share can hardly be gold, and where gold "
        "goes then is in no difference between members."
    )


def _against(rule: str, x: Found) -> str:
    return (
        f"The members against {rule} alone: over all kinds {_sure(x['rank'])}; within kinds "
        f"{_sure(x['rank within kinds'])}."
    )


def _better(d: Found) -> list[str]:
    """Rules that alone rank the runs of some kind surely better than the members do."""
    out = []
    for rule, kinds in d.items():
        than = [f"{kind} by {_minus(x)}" for kind, x in kinds.items() if x["high"] < 0]
        if than:
            out.append(f"{rule[0].upper()}{rule[1:]} alone ranks better in {', '.join(than)}.")
    return out


def _minus(x: Found) -> str:
    """A difference the other way round."""
    return cell({"value": -x["value"], "low": -x["high"], "high": -x["low"]})


def _wrong_way(d: Found) -> list[str]:
    """Rules that rank runs of a kind surely the wrong way round where calibrated on others."""
    out = []
    for rule, kinds in d.items():
        wrong = [
            f"{kind} ({cell(x['rank'])})" for kind, x in kinds.items() if x["rank"]["high"] < 0
        ]
        if wrong and RULES[rule]:
            out.append(
                f"Calibrated on other kinds, {rule} ranks {', '.join(wrong)} the wrong way round: "
                "which way it points differs between kinds."
            )
    return out


def _sure(x: Found) -> str:
    if x["low"] > 0:
        return f"they rank better by {cell(x)}"
    if x["high"] < 0:
        return f"they rank worse, {cell(x)}"
    return f"it does not show that they rank better, {cell(x)}"


def _lucky(kind: str, x: Found, ranks: Found) -> str:
    said, share = x["another run"], x["share of luck"]
    text = (
        f"{kind}: another run of the same world ranks {x['worlds']} worlds by {cell(said)} (share "
        f"of luck {cell(share)}), "
    )
    if said["low"] <= 0:
        text += "so the luck of training decides most of it, and the reference can say little. "
    else:
        text += "so where gold turns is a property of the world that could be known. "
    best = max(ranks, key=lambda rule: ranks[rule]["value"])
    text += f"The report's runs are ranked by {cell(ranks['members'])} by the members"
    return text + ("." if best == "members" else f", and by {cell(ranks[best])} by {best}.")


def _coverage(x: Found) -> str:
    held = f"the 80 % interval held {cell(x)}"
    if x["high"] < 0.8:
        return held + ", too few"
    return held + (", too many" if x["low"] > 0.8 else "")


def _lean(x: Found) -> str:
    if x["value"] is None:
        return "of no run to be told, for none did"
    text = f"{cell(x)} of the measured √KL"
    if x["low"] is not None and x["low"] > 1:
        return text + ", too late"
    return text + (", too early" if x["high"] is not None and x["high"] < 1 else "")
