"""The part of the watch's page that is about real runs."""

from __future__ import annotations

from typing import Any

from bench.watch.ceilings import STRETCHES
from bench.watch.cells import number, share, table

STRETCHED = f"{min(STRETCHES)} to {max(STRETCHES)} times"
FEW = 10  # runs that turn, below which the page says that they are few


def real(d: dict[str, Any]) -> str:
    """The tables of every world that was run."""
    text = """## Real runs

`python -m bench.watch.collect table --last 300; python -m bench.watch.collect grammar --last 48;
python -m bench.watch replay; python -m bench.watch ceiling`, and for a pretrained model `python -m
bench.watch.collect smollm2 --models FOLDER --last 12` and `--world smollm2`. Runs of the library's
recipes, trained without a watch; at each look the gold and the rewards of many fresh completions
are kept, and `assay/watch/session.py` is run on them as it stands: its completions come from these,
so every chance of winning is known. p(t, b) is the chance that a completion of checkpoint t beats
one of checkpoint b to the same prompt. The *peak* at look t is the checkpoint up to t with the
highest mean gold. A run **turns** at the first look with p(t, peak) ≤ .40; it is **steady** if p(t,
peak) > .45 throughout, and then any alarm is false; the rest is shaded. *Early*: turning runs
stopped while p(t, peak) had never been ≤ .45. *Labels*: until the alarm, median over runs that were
stopped; *and after it*: with those that choose where to go back to. *Kept*: runs that turn in which
the checkpoint has at least 90 % of the peak's gain in gold over the reference (where nothing is
gained: the reference itself); runs not stopped go back to nothing and count with their last
checkpoint. *Best so far*: the last of the stretch compared with. *Gold gained*: over the reference,
by what is gone back to, mean over runs that turn.
"""
    for world in ("table", "grammar", "smollm2"):
        if world in d:
            text += runs_of(world, d[world], d.get("ceiling", {}).get(world))
        if world in d.get("kept", {}):
            text += could_be_kept(world, d["kept"][world])
    return text


def could_be_kept(world: str, d: dict[str, Any]) -> str:
    """How much of what any rule could keep the watch keeps."""

    d = {**d, "all": [*d["made on"], *d["fresh"]]}

    def cell(rule: str, of: str) -> str:
        if of not in d["rules"]:
            return "–"
        k = d["rules"][of][rule]
        low, high = k["interval"]
        ends = f" [{100 * low:.0f}, {100 * high:.0f}]" if len(d[of]) > 1 else " of one run"
        return f"{100 * k['kept']:.0f} %{ends}"

    rows = [[rule, cell(rule, "all"), cell(rule, "fresh")] for rule in d["each"]]
    count = len(d["made on"]) + len(d["fresh"])
    listed = ", ".join(map(str, d["fresh"])) or "none"
    return f"""
#### What any rule could keep on {world}

`python -m bench.watch kept --world {world} --draws {d["draws"]}`: {count} runs that turn, each
replayed with {d["draws"]} draws of labels; kept is 90 % of the peak's gain, intervals are from
resampled runs. *Told all curves*: Bayes' rule whose prior is even over the win rates and the gold
of all these runs, the run's own among them, each also {STRETCHED} as fast: the best rule there is
if runs come from these curves. *Places the labels*: after the stop it buys those that tell it
most. *The others' curves*: without the run's own. *Fresh*: runs that were first replayed when the
rule was finished (numbers {listed}).

{table(["rule", "kept, all runs", "kept, fresh runs"], rows)}"""


SIGNALS = [
    "signal",
    "false alarms, %",
    "fires in turning runs, %",
    "AUROC",
    "lead, looks",
    "kept",
]


def runs_of(world: str, d: dict[str, Any], ceiling: dict[str, Any] | None) -> str:
    """One world."""

    def kept(r: dict[str, Any], rule: str) -> str:
        k = r["kept"].get(rule)
        if k is None:
            return "–"
        low, high = k["interval"]
        share = f"{100 * k['share of runs']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
        return f"{share}, median {number(k['median'], 2)}"

    def row(r: dict[str, Any]) -> list[str]:
        return [
            r["name"],
            f"{share(r)} of {r['steady']}",
            f"{100 * r['early']:.0f}",
            f"{100 * r['found']:.0f} of {r['turning']}",
            number(r["labels"]),
            number(r["settled"]),
            number(r["delay"]),
            number(r["steady labels"]),
            kept(r, "best so far"),
            kept(r, "gone back to"),
            number(r["gain"]["back"], 2),
        ]

    head = [
        "",
        "false alarms in steady runs, %",
        "early, %",
        "turning runs stopped, %",
        "labels",
        "and after it",
        "looks after the turn",
        "labels, steady run",
        "kept: best so far",
        "kept: gone back to",
        "gold gained",
    ]
    fresh = (
        "Below: runs of odd numbers (rivals and variants: those from 201 on); the constants of "
        "going back were chosen on even ones, which are of other settings. "
        if world == "table"
        else "Below: all of them. "
    )
    hints = [
        [
            h["name"],
            f"{share(h)} of {h['steady']}",
            f"{100 * h['found']:.0f} of {h['turning']}",
            number(h["auroc"], 2),
            "–" if h["lead"] is None else f"{h['lead']:.0f}",
            "–" if h["kept"] is None else f"{100 * h['kept']:.0f} %",
        ]
        for h in d["hints"]
    ]
    signals = (
        f"""
Free signals and proxy-only detectors on `{world}`. Threshold: the .95 quantile of the signal's
maximum over the steady runs of every second round of settings; scored on the others. *Lead*:
looks from its alarm to the turn, median over the turning runs where it fired (negative: late).
*Kept*: share of these whose checkpoint at the alarm has 90 % of the peak's gain: stopping there,
with nothing else known. Read these with care: the steady runs differ from the turning ones in
their settings (clean reward models, a KL penalty, learning that stopped), and a signal that tells
the settings apart scores here though it knows nothing of gold; a new setting needs a new threshold,
and nothing says which.

{table(SIGNALS, hints)}"""
        if any(h["turning"] for h in d["hints"])
        else ""
    )
    a, b = d["meant to turn"], d["meant not to"]
    sources = "; ".join(
        f"{n} of {k}" if k != "not noted" else f"{n} without a note of it"
        for k, n in d["sources"].items()
    )
    made = f"Sources: {sources}{': ' + d['made'] if d['made'] else ''}."
    noisy = (
        ""
        if d["exact"]
        else """Gold is a mean over few completions here, and the highest of many such means is too
high: against it even the true peak would seem to have lost. So the peak's gain is measured on
completions that did not choose it (random halves: the peak by one, its gain by the other). """
    )
    low, high = ceiling["interval"] if ceiling else (0.0, 1.0)
    lost = (
        ""
        if ceiling is None
        else f"""Labels say who is better and not by how much. The checkpoint that is hardest to
beat, known from all completions, has 90 % of the peak's gain in {100 * ceiling["kept"]:.0f} %
[{100 * low:.0f}, {100 * high:.0f}] of {ceiling["turning"]} runs that
turn{" (odd numbers)" if world == "table" else ""}: about what labels could reach. """
    )
    gain = d["all"]["gain"]
    gained = (
        f"In runs that turn the peak gains {number(gain['peak'], 2)} over the reference, which it "
        f"beats at {number(d['all']['edge'], 2)}, and the last checkpoint "
        f"{number(gain['last'], 2)}, mean over all of them. "
    )
    if d["all"]["edge"] < 0.6:
        gained += (
            "So small an edge is less than labels can show (128 have a standard error of .04): "
            "where the peak was, only the shape of the fall can say. "
        )
    few = (
        f"""{d["all"]["turning"]} runs that turn and {d["all"]["steady"]} that are steady are too
few to tell rules apart: look at the intervals. """
        if d["all"]["turning"] < FEW
        else ""
    )
    return f"""
### {world}: {d["runs"]} runs

Meant to turn: {a["turns"]} turn, {a["shaded"]} shaded, {a["steady"]} steady. Meant not to:
{b["steady"]} steady, {b["shaded"]} shaded, {b["turns"]} turn.
{few}{noisy}{lost}{gained}{fresh}{made}

{table(head, [row(d["all"]), *[row(r) for r in d["detectors"]]])}{signals}"""
