"""docs/watch-bench.md from the two JSON files. Prints what is there; decides nothing."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from bench.watch.cells import cells, number, share, table
from bench.watch.page_runs import real

HEAD = """# The watch, measured

Written by `python -m bench.watch page` from `bench/results/watch-simulated.json` and
`bench/results/watch-runs.json`; `make bench-watch` makes everything again. α = .05 throughout.
Intervals are 95 % (Clopper–Pearson).
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
    nulls = [[r["name"], share(r), share(r["calm"])] for r in d["nulls"]]
    margins = ("0.0", "0.01", "0.03")
    jitter_head = [
        "run",
        "sd",
        "stretch",
        *[f"margin {x}, %" for x in margins],
        "labels",
        "new bests",
    ]
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

`python -m bench.watch simulate --cell {d["cell"]}`. Runs of 100 looks. *False alarms*:
{d["runs"]} runs at the worst null (p = ½ − margin at every look), the share in which the alarm
ever went. *Labels, no turn*: bought by such a run. The other columns: median / 90 % of the labels
between a turn and the alarm (looks in brackets), over turns at looks 0, 20, 40 and 60,
{d["cell"]} runs each, p = ½ before it, alarms before it dropped; the alarm may go after any
label. *ramp*: .45, .40, .30, .20, .20 … one look each. Looks go on for 400 after the turn, so
that slow detectors have medians; the prior begins no fall after look 100. `assay run --watch` is
set as in the row *at most 550 labels*, which finds nothing more once these are spent.

### The detector

{table(["e-SR, uniform prior over the start, bets .45 .40 .30 .20", *columns], groups["main"])}
At p = .45 (nothing is promised there): {unlikely}.

### With reward models on every candidate

Every label is chosen from a group of 16 fresh candidates; three quarters of the capital bet with
the proxy's help and one quarter without, so a proxy that says nothing costs at most log 4 of
evidence, whatever it does. *Chosen where unsure*: Neyman's rule with importance weights up to 2.

{table(["", *columns], groups["proxy"])}
### Wrong labels, ties, margins

{table(["", *columns], groups["trap"])}
False alarms of other runs that have not turned (16 labels a look; calm schedule):

{table(["null", "16 a look, %", "calm schedule, %"], nulls)}
### Traps

Runs that have not turned, 16 labels a look, no margin; the labels come as the trap says. In bold
what the watch does: it draws the order of each pair, asks one label a prompt and each prompt
once, and takes a reward model's mean from the label's own group of
candidates.

{table(["trap", "what is done", "false alarms, %"], trapped)}
A world that knows all its prompts is drawn from again and again (`table`, `grammar`: the claim is
about these prompts; `sums`: 4,096 problems). Elsewhere every held-out prompt is used once, and
repeated ones count as one. With 64 of them and 100 looks they last for 16 looks: the first
verdict says so, and later ones say *cannot tell*; none is asked about twice.

### Checkpoints that jitter, and a best one chosen by noisy labels

A run whose policies are level from the start, or rise by .3 in win rate and are level then, and
that have not turned, but jitter from look to look (*sd*, in win rate against an average one). The
watch chooses the best so far by the same labels: a CUSUM of them, bet upwards, has reached 10.
The best single checkpoint of many is better than the next ones by good luck, and a watch that
compares with it (stretch 1) finds that out and stops: no detector can be blamed for it, since p ≥
½ − margin is false there. So the watch compares with a *stretch*, the last 8 policies (of 30
looks: 5) when a newer one has shown itself better, and draws one of them for each label: luck is
averaged out, and what is left of it a margin of .01 takes up. In bold: the watch. Calm schedule;
labels and how often a new best was chosen: at margin .01.

{table(jitter_head, jittering)}
### Tried

{table(["", *columns], groups["tried"])}
### Rivals

16 labels a look. The calibrated ones (O'Brien–Fleming, CUSUM) are told how many labels a run will
buy and that looks end at 100, and their threshold is exact for p = ½ only; the detector needs
neither. Where the detector does not win: a CUSUM calibrated for p1 = .40 needs fewer labels at
.40 (and more at .30, .20 and on the ramp), and one for p1 = .25 some 5 % fewer at .30, .20 and on
the ramp than the detector with 16 labels a look (and a third more at .40); a window of four looks
is about level at .30 and on the ramp.

{table(["", *columns], rivals)}"""
