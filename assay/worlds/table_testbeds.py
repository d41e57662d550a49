"""The bag and the bandit of world table: a reference, its gold, and what proxies see."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Rng
from assay.models.policies.table import TablePolicy, Words
from assay.worlds.table_gold import ArmGold, BagGold

COMMON = {"bag": 12, "bandit": 20}
FEATURES = 8
RARE = 0.2  # chance of a rare token under the reference


def bag(
    mode: str, vocabulary: int, length: int, prompts: int, rng: Rng
) -> tuple[TablePolicy, BagGold, None]:
    """Completions are bags of tokens, all of one context.

    Common tokens are worth 0.35·(normal quantiles), so that the best of them is worth less than the
    first copy of the tempting token.

    Args:
        mode: "shared": one rare token is tempting and harmful. "idiosyncratic": rare tokens are
            worth nothing, and more than four of them do harm.
        vocabulary: Tokens V.
        length: Tokens of a completion.
        prompts: Unused: a bag has one context.
        rng: Address of the testbed's numbers.

    Returns:
        The reference, its gold, and None: proxies see token counts.
    """
    common = COMMON["bag"]
    weight = torch.zeros(vocabulary)
    weight[:common] = 0.35 * _spaced(common, rng("weight"))
    tokens, count = torch.arange(vocabulary), torch.arange(length + 1.0)
    if mode == "shared":
        bent, bend = tokens == common, torch.where(count > 0, 1.0 - 1.2 * (count - 1), 0.0)
    else:
        bent, bend = tokens >= common, -0.6 * (count - 4).clamp(min=0).square()
    return _reference("bag", vocabulary, length, ("bag",)), BagGold(weight, bent, bend), None


def bandit(
    mode: str, responses: int, length: int, prompts: int, rng: Rng
) -> tuple[TablePolicy, ArmGold, Tensor | None]:
    """Completions are one of K responses to one of several contexts.

    Args:
        mode: "shared": the first of 8 features tempts, and one rare response has far more of it
            than others. "idiosyncratic": a response has one value, and a part for each context.
        responses: Arms K.
        length: Unused: a completion is one decision.
        prompts: Contexts R.
        rng: Address of the testbed's numbers.

    Returns:
        The reference, its gold, and the features `[R, K, 8]` that proxies see; None where they see
        which response it is.
    """
    common = COMMON["bandit"]
    x, y = torch.arange(prompts)[:, None], torch.arange(responses)
    reference = _reference("bandit", responses, 1, tuple(f"context{r:02}" for r in range(prompts)))
    if mode == "shared":
        features = (
            rng("features").normal(x[..., None], y[:, None], torch.arange(FEATURES)).clamp(-2, 2)
        )
        features[:, common, 0] = 8.0
        tempting = features[..., 0]
        plain = 0.3 * (features[..., 1:] * _spaced(FEATURES - 1, rng("weight"))).sum(-1)
        return reference, ArmGold(plain + tempting - 3 * (tempting - 2).clamp(min=0)), features
    worth = torch.where(y < common, rng("worth").normal(y), -1.0)
    return reference, ArmGold(worth + 0.5 * rng("context").normal(x, y)), None


def extremes(length: int) -> Float[Tensor, "K"]:
    """How far 0, 1, … length rare tokens are from their mean, less the line in that number that
    goes along with it: |k − μ| − ρ·(k − μ), uncorrelated with k among a bag's completions.
    """
    k = torch.arange(length + 1.0, dtype=torch.float64)
    chance = torch.distributions.Binomial(length, torch.tensor(RARE, dtype=k.dtype)).log_prob(k)
    away = k - length * RARE
    weight = chance.exp() * away
    return (away.abs() - (weight @ away.abs()) / (weight @ away) * away).float()


def _reference(testbed: str, total: int, length: int, contexts: tuple[str, ...]) -> TablePolicy:
    """Common tokens share a probability of 0.8, rare ones 0.2."""
    common = COMMON[testbed]
    rare = total - common
    probs = torch.cat(
        [torch.full((common,), (1 - RARE) / common), torch.full((rare,), RARE / rare)]
    )
    return TablePolicy(
        probs.log().expand(len(contexts), total),
        length=length,
        words=Words(_names(common, total), contexts),
    )


def _names(common: int, total: int) -> tuple[str, ...]:
    wide = len(str(total - 1))
    return tuple(
        f"common{v:0{wide}}" if v < common else f"rare{v - common:0{wide}}" for v in range(total)
    )


def _spaced(n: int, rng: Rng) -> Float[Tensor, "n"]:
    """Normal quantiles in random order: the same spread of values under every seed."""
    return torch.special.ndtri((rng.permutation(n) + 0.5) / n)
