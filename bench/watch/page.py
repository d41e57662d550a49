"""docs/watch-bench.md from the two JSON files. Prints what is there; decides nothing."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

HEAD = """# The watch, measured

Written by `python -m bench.watch page` from `bench/results/watch-simulated.json` and `bench/results/watch-runs.json`; `make
bench-watch` makes everything again. α = .05 throughout. Intervals are 95 % (Clopper–Pearson).
"""


def page(results: Path) -> str:
    """The whole page; a part whose file is not there says so."""
    parts = [HEAD]
    for name, make in (("watch-simulated.json", simulated), ("watch-runs.json", real)):
        path = results / name
        there = path.exists()
        parts.append(
            make(json.loads(path.read_text(encoding="utf-8")))
            if there
            else f"`{name}` has not been made yet.\n"
        )
    return wrapped("\n".join(parts))


def wrapped(text: str) -> str:
    """Prose at 120 columns; tables and headings as they are."""
    return (
        "\n\n".join(
            b.strip("\n")
            if b.lstrip("\n").startswith(("|", "#"))
            else textwrap.fill(
                " ".join(b.split()), 120, break_long_words=False, break_on_hyphens=False
            )
            for b in text.split("\n\n")
        )
        + "\n"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    return (
        "\n".join(["| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows)]) + "\n"
    )


def number(x: float | None, digits: int = 0) -> str:
    """`never` for none."""
    return "never" if x is None else f"{x:.{digits}f}"


def share(row: dict[str, Any]) -> str:
    """A frequency with its interval, in per cent."""
    low, high = row["interval"]
    return f"{100 * row['false']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def cells(
    row: dict[str, Any], shapes: tuple[str, ...] = ("0.4", "0.3", "0.2", "ramp")
) -> list[str]:
    """median / 90 % of the labels between the turn and the alarm, and looks."""
    return [
        f"{number(row[s]['median'])} / {number(row[s]['90%'])} ({number(row[s]['looks'])})"
        for s in shapes
    ]


def simulated(d: dict[str, Any]) -> str:
    """False alarms, medians, traps, rivals."""
    columns = ["false alarms, %", "labels, no turn", "p = .40", "p = .30", "p = .20", "ramp"]
    groups = {
        k: [
            [r["name"], share(r), number(r["labels"]), *cells(r)]
            for r in d["detector"]
            if r["part"] == k
        ]
        for k in ("main", "proxy", "trap", "tried")
    }
    rivals = [[r["name"], share(r), number(r["labels"]), *cells(r)] for r in d["rivals"]]
    unlikely = ", ".join(
        f"{r['name']}: {number(r['0.45']['median'])}" for r in d["detector"] if "0.45" in r
    )
    trapped = [
        [r["trap"], f"**{r['how']}**" if r["ours"] else r["how"], share(r)] for r in d["traps"]
    ]
    margins = ("0.0", "0.01", "0.03")
    jittering = [
        [
            f"{r['looks']} looks, " + (f"rises for {r['rises']}" if r["rises"] else "level"),
            str(r["sd"]),
            f"**{r['stretch']}**" if r["stretch"] > 1 else "1",
            *[share(r[x]) for x in margins],
            number(r["0.01"]["labels"]),
            number(r["0.01"]["changes"], 1),
        ]
        for r in d["jitter"]
    ]
    return f"""## Simulated runs

`python -m bench.watch simulate --cell {d["cell"]}`. Runs of 100 looks. *False alarms*: {d["runs"]} runs at the worst null (p =
½ − margin at every look), the share in which the alarm ever went. *Labels, no turn*: bought by such a run. The other columns:
median / 90 % of the labels between a turn and the alarm (looks in brackets), over turns at looks 0, 20, 40 and 60, {d["cell"]}
runs each, p = ½ before it, alarms before it dropped; the alarm may go after any label. *ramp*: .45, .40, .30, .20, .20 … one look
each. Looks go on for 400 after the turn, so that slow detectors have medians; the prior begins no fall after look 100. `assay
run --watch` is set as in the row *at most 550 labels*, which finds nothing more once these are spent.

### The detector

{table(["e-SR, uniform prior over the start, bets .45 .40 .30 .20", *columns], groups["main"])}
At p = .45 (nothing is promised there): {unlikely}.

### With judges on every candidate

Every label is chosen from a group of 16 fresh candidates; three quarters of the capital bet with the proxy's help and one quarter
without, so a proxy that says nothing costs at most log 4 of evidence, whatever it does. *Chosen where unsure*: Neyman's rule with
importance weights up to 2.

{table(["", *columns], groups["proxy"])}
### Wrong labels, ties, margins

{table(["", *columns], groups["trap"])}
False alarms of other runs that have not turned (16 labels a look; calm schedule):

{table(["null", "16 a look, %", "calm schedule, %"], [[r["name"], share(r), share(r["calm"])] for r in d["nulls"]])}
### Traps

Runs that have not turned, 16 labels a look, no margin; the labels come as the trap says. In bold what the watch does: it draws
the order of each pair, asks one label a prompt and each prompt once, and takes a judge's mean from the label's own group of
candidates.

{table(["trap", "what is done", "false alarms, %"], trapped)}
A world that knows all its prompts is drawn from again and again (`table`, `grammar`: the claim is about these prompts; `sums`:
4,096 problems). Elsewhere every held-out prompt is used once, and repeated ones count as one. With 64 of them and 100 looks they
last for 16 looks: the first verdict says so, and later ones say *cannot tell*; none is asked about twice.

### Checkpoints that jitter, and a best one chosen by noisy labels

A run whose policies are level from the start, or rise by .3 in win rate and are level then, and that have not turned, but jitter
from look to look (*sd*, in win rate against an average one). The watch chooses the best so far by the same labels: a CUSUM of
them, bet upwards, has reached 10. The best single checkpoint of many is better than the next ones by good luck, and a watch that
compares with it (stretch 1) finds that out and stops: no detector can be blamed for it, since p ≥ ½ − margin is false there. So
the watch compares with a *stretch*, the last 8 policies (of 30 looks: 5) when a newer one has shown itself better, and draws one
of them for each label: luck is averaged out, and what is left of it a margin of .01 takes up. In bold: the watch. Calm schedule;
labels and how often a new best was chosen: at margin .01.

{table(["run", "sd", "stretch", *[f"margin {x}, %" for x in margins], "labels", "new bests"], jittering)}
### Tried

{table(["", *columns], groups["tried"])}
### Rivals

16 labels a look. The calibrated ones (O'Brien–Fleming, CUSUM) are told how many labels a run will buy and that looks end at
100, and their threshold is exact for p = ½ only; the detector needs neither. Where the detector does not win: a CUSUM calibrated
for p1 = .40 needs fewer labels at .40 (and more at .30, .20 and on the ramp), and one for p1 = .25 some 5 %
fewer at .30, .20 and on the ramp than the detector with 16 labels a look (and a third more at .40); a window of four looks
is about level at .30 and on the ramp.

{table(["", *columns], rivals)}"""


def real(d: dict[str, Any]) -> str:
    """Both worlds' tables."""
    text = """## Real runs

`python -m bench.watch.collect table --last 300; python -m bench.watch.collect grammar --last 36; python -m bench.watch replay;
python -m bench.watch ceiling`. Runs of the library's recipes, trained without a watch; at each look the gold and the judges of
many fresh answers are kept, and `assay/watch.py` is run on them as it stands: it draws its answers from these, so every chance of
winning is known. p(t, b) is the chance that an answer of checkpoint t beats one of checkpoint b to the same prompt. The *peak* at
look t is the checkpoint up to t with the highest mean gold. A run **turns** at the first look with p(t, peak) ≤ .40; it is
**steady** if p(t, peak) > .45 throughout, and then any alarm is false; the rest is shaded. *Early*: turning runs stopped while
p(t, peak) had never been ≤ .45. *Labels*: until the alarm, median over runs that were stopped; *and after it*: with those that
choose where to go back to. *Kept*: runs that turn in which the checkpoint has at least 90 % of the peak's gain in gold over the
reference (where nothing is gained: the reference itself); runs not stopped go back to nothing and count with their last
checkpoint. *Best so far*: the last of the stretch compared with. *Gold gained*: over the reference, by what is gone back to, mean
over runs that turn.
"""
    for world in ("table", "grammar"):
        if world in d:
            text += runs_of(world, d[world], d.get("ceiling", {}).get(world))
    return text


def runs_of(world: str, d: dict[str, Any], ceiling: dict[str, Any] | None) -> str:
    """One world."""

    def kept(r: dict[str, Any], rule: str) -> str:
        k = r["kept"].get(rule)
        if k is None:
            return "–"
        low, high = k["interval"]
        return f"{100 * k['share of runs']:.0f} % [{100 * low:.0f}, {100 * high:.0f}], median {number(k['median'], 2)}"

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
        else "Below: all of them. No constant was chosen on them. "
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
Free signals and proxy-only detectors on `{world}`. Threshold: the .95 quantile of the signal's maximum over the steady runs of
every second round of settings; scored on the others. *Lead*: looks from its alarm to the turn, median over the turning runs where
it fired (negative: late). *Kept*: share of these whose checkpoint at the alarm has 90 % of the peak's gain: stopping there, with
nothing else known. Read these with care: the steady runs differ from the turning ones in their settings (clean judges, a price
on KL, learning that stopped), and a signal that tells the settings apart scores here though it knows nothing of gold; a new
setting needs a new threshold, and nothing says which.

{table(["signal", "false alarms, %", "fires in turning runs, %", "AUROC", "lead, looks", "kept"], hints)}"""
        if hints
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
        else """Gold is a mean over few answers here, and the highest of many such means is too high: against
it even the true peak would seem to have lost. So the peak's gain is measured on answers that did not choose it (random halves:
the peak by one, its gain by the other). """
    )
    low, high = ceiling["interval"] if ceiling else (0.0, 1.0)
    lost = (
        ""
        if ceiling is None
        else f"""Labels say who is better and not by how much. The checkpoint that is hardest to beat,
known from all answers, has 90 % of the peak's gain in {100 * ceiling["kept"]:.0f} % [{100 * low:.0f}, {100 * high:.0f}] of
{ceiling["turning"]} runs that turn{" (odd numbers)" if world == "table" else ""}: about what labels could reach. """
    )
    gain = d["all"]["gain"]
    gained = (
        f"In runs that turn the peak gains {number(gain['peak'], 2)} over the reference, which it "
        f"beats at {number(d['all']['edge'], 2)}, and the last checkpoint "
        f"{number(gain['last'], 2)}, mean over all of them. "
    )
    if d["all"]["edge"] < 0.6:
        gained += (
            "So small an edge is less than anything is promised for (128 labels have a standard "
            "error of .04): the watch stops the fall, and where the peak was it can seldom say. "
        )
    return f"""
### {world}: {d["runs"]} runs

Meant to turn: {a["turns"]} turn, {a["shaded"]} shaded, {a["steady"]} steady. Meant not to: {b["steady"]} steady, {b["shaded"]}
shaded, {b["turns"]} turn. {noisy}{lost}{gained}{fresh}{made}

{table(head, [row(d["all"]), *[row(r) for r in d["detectors"]]])}{signals}"""
