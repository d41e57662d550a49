"""Real votes of three raters on pairs: how noisy they are, and an audit corrected by that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import InputError, Rng
from assay.data.faults import Faults
from assay.data.read import open_source
from assay.formulas.noise import audit, corrected, dawid_skene, three_raters
from assay.rewards.load import open_reward

RESAMPLES = 100
ROUNDS = 100  # of expectation–maximisation in a resample, which begins near the whole's optimum


@dataclass(frozen=True)
class Votes:
    """Three votes an item, and the pairs where the file has them.

    Attributes:
        votes: 0 a tie, 1 the first, 2 the second `[S, 3]`.
        pairs: (prompt, first response, second response) of an item; None where they are no text.
    """

    votes: Int[Tensor, "S 3"]
    pairs: list[tuple[str, str, str] | None]


def read(path: Path) -> Votes:
    """Read three votes a row, and prompt, response_1 and response_2 where it has them.

    Raises:
        InputError: A row has no three votes; the message names it.
    """
    faults, found = Faults(str(path)), []
    pairs: list[tuple[str, str, str] | None] = []
    for i, row in open_source(path).rows(faults):
        votes = row.get("raters")
        if not isinstance(votes, list) or len(votes) != 3 or any(v not in (0, 1, 2) for v in votes):
            raise InputError(
                f"{path}, row {i}, column 'raters' holds {str(votes)[:40]}; three votes were "
                "expected, each 0 for a tie, 1 for the first or 2 for the second completion"
            )
        found.append(votes)
        a, b, c = (row.get(k) for k in ("prompt", "response_1", "response_2"))
        text = isinstance(a, str) and isinstance(b, str) and isinstance(c, str)
        pairs.append((str(a), str(b), str(c)) if text else None)
    faults.stop()
    return Votes(torch.tensor(found), pairs)


def of_people(votes: Int[Tensor, "S 3"]) -> Iterator[dict[str, Any]]:
    """Three classes, the fit of independence, and two classes without ties."""
    fit, S = dawid_skene(votes, classes=3), len(votes)
    for r in range(3):
        yield {
            "raters": "people",
            "rater": r,
            "confusion": fit.confusion[r].tolist(),
            "accuracy": float((fit.prior * fit.confusion[r].diagonal()).sum()),
        }
    cells = torch.einsum("k,ka,kb,kc->abc", fit.prior, *fit.confusion).clamp(min=1e-300)
    seen = torch.bincount(votes @ torch.tensor([9, 3, 1]), minlength=27).reshape(3, 3, 3).double()
    statistic = 2 * float(torch.special.xlogy(seen, seen / (S * cells)).sum())
    agree = [
        [
            float((votes[:, i] == votes[:, j]).double().mean()),
            float(torch.einsum("k,kv,kv->", fit.prior, fit.confusion[i], fit.confusion[j])),
        ]
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    yield {
        "raters": "people",
        "items": S,
        "shares": fit.prior.tolist(),
        "agreement_seen_and_fitted": agree,
        "likelihood_ratio": statistic,
        "degrees": 26 - 20,
    }
    clear = votes[(votes > 0).all(1)] - 1
    yield {
        "raters": "people without ties",
        "items": len(clear),
        **{
            k: v.tolist()
            for k, v in zip(
                ("share_second", "hit", "alarm"), three_raters(clear.double()), strict=True
            )
        },
    }


def audited(people: Votes, judge: str, rng: Rng) -> Iterator[dict[str, Any]]:
    """Audit a judge by each rater, by the majority, and corrected by the raters' noise matrices.

    Args:
        people: Votes and pairs.
        judge: A reward; "" for the length of a response.
        rng: Address of the bootstrap.
    """
    pairs = [p for p in people.pairs if p is not None]
    if not pairs:
        if judge:
            raise InputError(
                "--judge is audited on pairs, and no row of --raters has the text of a prompt, "
                "response_1 and response_2"
            )
        return
    prompts, texts = [p[0] for p in pairs for _ in (0, 1)], [t for p in pairs for t in p[1:]]
    whole = torch.tensor([p is not None for p in people.pairs])
    if judge:
        scores = open_reward(judge, "judge").scores(prompts, texts)[0]
    else:
        scores = torch.tensor([float(len(t)) for t in texts])
    first, second = scores.reshape(-1, 2).T
    decided = torch.isfinite(first) & torch.isfinite(second) & (first != second)
    votes, decision = people.votes[whole][decided], (second > first).long()[decided]
    if len(votes) < 3 or len(decision.unique()) < 2:
        raise InputError(
            f"the judge decides {len(votes)} pairs, all alike; there is nothing to audit"
        )
    S, values = len(votes), by_people(votes, decision, 500)
    redrawn = []
    for b in range(RESAMPLES):
        rows = rng("bootstrap", b).integers(S, torch.arange(S))
        if len(decision[rows].unique()) == 2:
            redrawn.append(by_people(votes[rows], decision[rows], ROUNDS))
    for name, value in values.items():
        spread = torch.tensor([x[name] for x in redrawn], dtype=torch.float64)
        low, high = spread.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        yield {
            "audited": judge or "length",
            "by": name,
            "items": S,
            "undecided": len(people.votes) - S,
            "accuracy": value,
            "interval": [low, high],
        }


def by_people(
    votes: Int[Tensor, "S 3"], decision: Int[Tensor, "S"], rounds: int
) -> dict[str, float]:
    """Accuracy of decisions among pairs that are no tie: by each rater, by the majority, corrected.

    Three classes of truth, one noise matrix for all decisions (global) or one each (local).
    """
    tables = [joint(votes[:, r], decision) for r in range(3)]
    said = {f"rater {r}": among_clear(t) for r, t in enumerate(tables)}
    said["majority"] = among_clear(joint(votes.mode(1).values, decision))
    fit = dawid_skene(votes, classes=3, rounds=rounds).confusion
    each = [dawid_skene(votes[decision == d], classes=3, rounds=rounds).confusion for d in (0, 1)]
    for name, T in (("global", [fit] * 2), ("local", each)):
        by = [corrected(t, torch.stack([T[0][r], T[1][r]])) for r, t in enumerate(tables)]
        said[name] = among_clear(torch.stack(by).mean(0))
    return said


def joint(votes: Int[Tensor, "S"], decision: Int[Tensor, "S"]) -> Float[Tensor, "3 2"]:
    """Shares of (vote, decision)."""
    counts = torch.bincount(2 * votes + decision, minlength=6).double()
    return counts.reshape(3, 2) / len(votes)


def among_clear(shares: Float[Tensor, "3 2"]) -> float:
    """P(decision is right | no tie)."""
    clear = shares[1:]
    return float(audit(clear / clear.sum().clamp(min=1e-300)).accuracy)
