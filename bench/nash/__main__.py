"""Last policies of all Nash methods against preference queries, exact and with tuned steps.

python -m bench.nash          half a minute: writes bench/results/nash.json, docs/nash.md and .svg
python -m bench.nash --keep   measures nothing, and draws what bench/results/nash.json holds

Every method of `methods.METHODS` plays every game from the reference, with each step of one grid,
on five references and five random games. A query is one evaluation of P·π. The distance is
KL(π*‖π) to the regularised Nash policy, in nats, the median over seeds; a method is shown with the
step that is best after that many queries, so that each number is the method's own best.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core import Rng
from assay.formulas.divergence import kl_full
from assay.formulas.games import exploitability, regularised_nash
from assay.worlds.games import matrix
from bench.nash.figure import figure
from bench.nash.methods import METHODS, STEPS, Play

HERE = Path(__file__).resolve().parents[2]
GAMES = ("rps", "cyclic", "random", "transitive")
TAUS = (0.1, 0.01)
SEEDS = range(5)
AT = (10, 30, 100, 300, 1000)
LEAST = 1e-15  # float64 tells smaller distances from 0 no more
# read off the tables; a change of the methods or the games asks for another look
LOSES = """## Where each loses

- *Mirror prox* is far ahead where games are cyclic and τ is small (rps, τ 0.01: 3.3e-08 after 100
  queries, 0.25 the best of the others). Where a score explains preferences it pays two queries for
  nothing: after ten, magnetic mirror descent is at 2e-11 and mirror prox at 4e-07 (τ 0.1); after
  100 both are at rounding. On random games at τ 0.1 so are both; after 30 queries mirror prox with
  step 10 is ahead (6e-11 and 3e-06).
- *Magnetic mirror descent and INPO* need small steps at small τ: 0.08 are left on rps at τ 0.01
  after 1,000 queries.
- *Nash-MD with a constant step* stops at a distance that its step sets (2.8e-05 on rps at τ 0.1
  with step 0.1, where mirror descent reaches rounding). *With its decreasing step* it goes on, at
  about the square of the queries, but at τ 0.01 its first steps are hundreds, and it is last in all
  games but the transitive one. A hundredth of its steps only keeps it near the reference.
- *SPO's and DNO's last policies* do not come to rest in a game with cycles. Where the Nash policy
  uses every response (rps, cyclic) KL(π*‖π) grows with each step of any size, so that the least
  step looks best there, with which the policy has hardly left the reference. Elsewhere responses
  that the Nash policy leaves out lose their mass first: exploitability falls, and rises again. They
  are exact where one response beats all others. *SPO's average* is never far off and never exact.
- *The magnet that follows* has no τ to pay for. On cyclic it is slower than SPO's average with the
  α = 0.3 and κ = 0.1 of all rows, which are not tuned; with κ = 0.3 it is ahead (8.1e-03 and
  1.5e-02, `python -m bench.nash.elsewhere`).

## On two games it was not tried on

`python -m bench.nash.elsewhere` plays a random skew game of seven responses, drawn without any
condition, and Colonel Blotto with five units on three fields (21 placements). After 1,000 queries:

- At τ 0.1 all methods with τ are at the regularised Nash policy and stay (KL at most 7.3e-06); its
  exploitability is .076 and .085.
- At τ 0.01 mirror prox alone is there (3e-14). The others still turn around it: KL 3.8e-03 and
  more, exploitability three times the regularised Nash policy's, nine with decreasing steps on
  Blotto.
- SPO's last policy leaves .043 and .12, its average .005 and .010. The magnet that follows leaves
  1.3e-05 and 1.8e-04, ahead of the average in both.
""".splitlines()


def main() -> None:
    """Measure everything and write the data, the page and its figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.nash", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="draw what was measured before")
    data = HERE / "bench" / "results" / "nash.json"
    if parser.parse_args().keep:
        found = json.loads(data.read_text(encoding="utf-8"))
    else:
        found = everything()
        data.write_text(json.dumps(found, indent=0) + "\n")
    limits = {game: limit(game) for game in GAMES}
    (HERE / "docs" / "nash.md").write_text(page(found, limits), encoding="utf-8")
    still = figure(found, GAMES, limits).still(alone=True)
    (HERE / "docs" / "nash.svg").write_text(still + "\n", encoding="utf-8")


def everything() -> list[dict[str, Any]]:
    """Every method on every game with every step."""
    return [
        measured(game, tau, name, step)
        for game in GAMES
        for tau in TAUS
        for name, method in METHODS.items()
        if method.regularised or tau == TAUS[0]
        for step in method.steps(tau)
    ]


def limit(game: str, tau: float = TAUS[0]) -> float:
    """Exploitability in the plain game of the regularised Nash policy, the median over seeds."""
    P, _, nash = setting(game, tau)
    return float(exploitability(nash, P).median())


def start(game: str) -> float:
    """Exploitability in the plain game of the references, the median over seeds."""
    P, mu, _ = setting(game, TAUS[0])
    return float(exploitability(mu.exp(), P).median())


@functools.cache
def setting(game: str, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """P `[S,A,A]`, the references' log-probabilities and the regularised Nash policies `[S,A]`."""
    P = torch.stack([matrix(game, 0, 1.0, Rng(s)("matrix")) for s in SEEDS])
    place = torch.arange(P.shape[-1])
    mu = torch.stack([Rng(s)("reference").normal(place, dtype=torch.float64) for s in SEEDS])
    mu = mu.log_softmax(-1)
    return P, mu, regularised_nash(P, mu.exp(), tau=tau)


def measured(game: str, tau: float, name: str, step: float) -> dict[str, Any]:
    """One method on one game with one step: median distances after each number of queries."""
    P, mu, nash = setting(game, tau)
    play = Play(P, mu, tau, step)
    kl: list[float | None] = []
    gap: list[float | None] = []
    policies = METHODS[name](play)
    for queries in AT:
        shown = mu
        while play.queries < queries:
            shown = next(policies)
        away = kl_full(nash.clamp(min=1e-300).log(), shown)
        kl.append(_number(away.median()))
        gap.append(_number(exploitability(shown.exp(), P).median()))
    return {
        "game": game,
        "tau": tau,
        "method": name,
        "step": step,
        "queries": list(AT),
        "kl": kl,
        "exploitability": gap,
    }


def _number(x: Tensor) -> float | None:
    return float(f"{float(x):.3g}") if math.isfinite(float(x)) else None


def best(found: list[dict[str, Any]], game: str, tau: float, name: str, of: str, at: int) -> Any:
    """(number, step): the lowest after `at` queries; of steps that reach LEAST, the smallest."""
    i = AT.index(at)
    mine = [
        (max(r[of][i], LEAST), r["step"])
        for r in found
        if (r["game"], r["tau"], r["method"]) == (game, tau, name) and r[of][i] is not None
    ]
    return min(mine) if mine else (math.inf, math.nan)


def page(found: list[dict[str, Any]], limits: dict[str, float]) -> str:
    """The manual's page.

    Args:
        found: What was measured.
        limits: Exploitability of each game's regularised Nash policy at τ 0.1.
    """
    lines = [
        "# Nash methods, measured",
        "",
        "Written by `python -m bench.nash` from exact steps in float64: half a minute of one core,",
        "no sampling. Each number is the median over five references (of `random`, games too) and",
        f"has the step of the grid {', '.join(f'{s:g}' for s in STEPS)} that is best after so many",
        "queries (in brackets); of steps that come as near as float64 can tell, 1e-15, the",
        "smallest. Nash-MD's constant step is at most 1/τ. A query is one evaluation of P·π;",
        "mirror prox makes two an iteration. The games are those of world table",
        "(`--world.testbed game --world.game G`).",
        "",
        "![Exploitability and distance of the last policy by queries and by iterations](nash.svg)",
        "",
        "Each curve has the one step that is best after 1,000 queries: for methods with τ by",
        "KL(π*‖π), for the others by exploitability. A curve ends where it reaches the axis. The",
        "dashed line is the exploitability of the regularised Nash policy at τ = 0.1, where",
        "methods with that τ end. Mirror prox makes two queries an iteration, so that only its",
        "curve moves between the first two rows. In the last row magnetic mirror descent lies",
        "under Nash-MD with a constant step.",
        "",
        "## Distance to the regularised Nash policy",
        "",
        "KL(π*‖π) of the last policy, in nats, after 100 and 1,000 queries.",
        "",
    ]
    lines += table(found, "kl", TAUS, [n for n in METHODS if METHODS[n].regularised])
    lines += [
        "",
        "INPO's and DNO's exact steps are magnetic mirror descent's (with τ, and with τ = 0;",
        "`tests/test_formulas_self_play.py` compares them), and they have no rows of their own.",
        "",
        "## Exploitability in the plain game",
        "",
        "max_y P(y ≻ π) − ½, of methods that aim at the plain game too (τ = 0.1 for",
        "those that do not). A method with τ ends at the regularised Nash policy, whose own",
        "exploitability is the last row but one. Cells marked * are below that limit: a policy",
        "passed by on its way, at a step chosen for that moment. They are no convergence to the",
        "plain game.",
        "",
    ]
    lines += table(found, "exploitability", (0.1,), list(METHODS), limits)
    cells = [f"{limits[g]:.1e}" for g in GAMES for _ in (100, 1000)]
    lines.append("| *regularised Nash policy* | " + " | ".join(cells) + " |")
    begun = [f"{start(g):.1e}" for g in GAMES for _ in (100, 1000)]
    lines.append("| *the reference, where all begin* | " + " | ".join(begun) + " |")
    lines += ["", *LOSES]
    return "\n".join(lines) + "\n"


def table(
    found: list[dict[str, Any]],
    of: str,
    taus: tuple[float, ...],
    names: list[str],
    limits: dict[str, float] | None = None,
) -> list[str]:
    """A table with a row for each method and a column for each game, τ and number of queries.

    Args:
        found: What was measured.
        of: "kl" or "exploitability".
        taus: Strengths of the KL.
        names: The methods.
        limits: By game; what a method with τ has below its limit is marked.
    """
    cells = [(g, t, at) for g in GAMES for t in taus for at in (100, 1000)]
    head = [f"{g}{f', τ {t:g}' if len(taus) > 1 else ''}, {at}" for g, t, at in cells]
    rows = ["| method | " + " | ".join(head) + " |", "| --- |" + " --- |" * len(head)]
    for name in names:
        got = [best(found, g, t, name, of, at) for g, t, at in cells]
        below = [
            bool(limits) and METHODS[name].regularised and v < 0.99 * (limits or {})[g]
            for (v, _), (g, _, _) in zip(got, cells, strict=True)
        ]
        said = [
            f"{'≤ ' * (v == LEAST)}{v:.1e}{' *' * b} ({s:g})"
            for (v, s), b in zip(got, below, strict=True)
        ]
        rows.append(f"| {name} | " + " | ".join(said) + " |")
    return rows


if __name__ == "__main__":
    main()
