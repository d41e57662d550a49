"""The same methods on two games they were not tried on: do they end where the page says?

python -m bench.nash.elsewhere          half a minute of one core: prints a table, writes nothing

    skew7     P − ½ uniform in ±½ above the diagonal, seven responses, drawn without any condition;
              a response may beat all others
    blotto    Colonel Blotto: five units on three fields, 21 placements; who holds more fields wins,
              and P is ½ where as many

Methods, steps, references and medians are those of `python -m bench.nash`. After 1,000 queries each
method has the step that is best by its own aim: KL(π*‖π) with τ, exploitability without. The last
column is the largest exploitability of any of its last 100 queries' policies at that step, which
tells a policy that stays from one that passes by. A second table turns the two constants of the
magnet that follows, which the page does not tune.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from assay.core import Rng
from assay.formulas.divergence import kl_full
from assay.formulas.games import exploitability, regularised_nash
from bench.nash.__main__ import setting
from bench.nash.methods import METHODS, STEPS, Play, following

TAUS = (0.1, 0.01)
SEEDS = range(5)
QUERIES, TAIL = 1000, 100


def skew7(seed: int) -> Tensor:
    """P of seven responses whose upper half is uniform."""
    place = torch.arange(7)
    above = (Rng(seed)("skew7").uniform(place[:, None], place, dtype=torch.float64) - 0.5).triu(1)
    return 0.5 + above - above.T


def blotto(units: int = 5, fields: int = 3) -> Tensor:
    """P of Colonel Blotto's placements: who holds more fields wins."""
    placed = [p for p in itertools.product(range(units + 1), repeat=fields) if sum(p) == units]
    n = torch.tensor(placed, dtype=torch.float64)
    held = (n[:, None] - n).sign().sum(-1)
    return 0.5 + held.sign() / 2


def games() -> dict[str, Tensor]:
    """P of both, for each seed `[S,A,A]`."""
    return {
        "skew7": torch.stack([skew7(s) for s in SEEDS]),
        "blotto": blotto().expand(len(SEEDS), -1, -1).contiguous(),
    }


def ended(P: Tensor, tau: float, name: str, step: float) -> dict[str, Any]:
    """Medians after all queries, and the worst exploitability of the last of them."""
    place = torch.arange(P.shape[-1])
    mu = torch.stack([Rng(s)("reference").normal(place, dtype=torch.float64) for s in SEEDS])
    mu = mu.log_softmax(-1)
    nash = regularised_nash(P, mu.exp(), tau=tau)
    play = Play(P, mu, tau, step)
    policies, shown, worst = METHODS[name](play), mu, torch.zeros(len(mu), dtype=mu.dtype)
    while play.queries < QUERIES:
        shown = next(policies)
        if play.queries > QUERIES - TAIL:
            worst = torch.maximum(worst, exploitability(shown.exp(), P))
    return {
        "step": step,
        "kl": float(kl_full(nash.clamp(min=1e-300).log(), shown).median()),
        "gap": float(exploitability(shown.exp(), P).median()),
        "worst": float(worst.median()),
        "limit": float(exploitability(nash, P).median()),
    }


def main() -> None:
    """Print the table."""
    print("| game | τ | method | step | KL(π*‖π) | exploitability | worst of the last 100 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for game, P in games().items():
        for tau in TAUS:
            limit = 0.0
            for name, method in METHODS.items():
                if not method.regularised and tau != TAUS[0]:
                    continue
                found = [ended(P, tau, name, step) for step in method.steps(tau)]
                mine = [f for f in found if f["kl"] == f["kl"]]
                best = min(mine, key=lambda f: f["kl" if method.regularised else "gap"])
                limit = best["limit"]
                kl = f"{max(best['kl'], 0):.1e}" if method.regularised else ""
                print(
                    f"| {game} | {tau:g} | {name} | {best['step']:g} | {kl} | "
                    f"{max(best['gap'], 0):.1e} | {max(best['worst'], 0):.1e} |"
                )
            print(f"| {game} | {tau:g} | *regularised Nash policy* | | 0 | {limit:.1e} | |")
    magnets()


def magnets() -> None:
    """Print what the magnet that follows leaves on `cyclic` with other constants."""
    print("\n| α | κ | exploitability on cyclic, best step |\n| --- | --- | --- |")
    P, mu, _ = setting("cyclic", TAUS[0])
    for alpha, kappa in itertools.product((0.1, 0.3, 1.0), (0.03, 0.1, 0.3)):
        found = []
        for step in STEPS:
            play = Play(P, mu, TAUS[0], step)
            policies, shown = following(play, alpha, kappa), mu
            while play.queries < QUERIES:
                shown = next(policies)
            found.append((float(exploitability(shown.exp(), P).median()), step))
        print(f"| {alpha:g} | {kappa:g} | {min(found)[0]:.1e} ({min(found)[1]:g}) |")


if __name__ == "__main__":
    main()
