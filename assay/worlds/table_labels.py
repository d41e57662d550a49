"""What labelers of world table know, and what is exact about its bags and bandits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.core import Rng, Sampler, Samples
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import LinearReward
from assay.worlds.table_gold import ArmGold, BagGold
from assay.worlds.table_testbeds import COMMON


class Specialist:
    """Gold where a member's labelers know it, and elsewhere a taste of theirs.

    Args:
        gold: Scores completions `[K,B,N]`.
        member: Its number; the labelers of odd members know the rare responses.
        deviation: Of the taste.
        responses: Responses of the bandit.
        rng: Address of the taste.
    """

    def __init__(
        self,
        gold: Callable[[Samples], Tensor],
        member: int,
        deviation: float,
        responses: int,
        rng: Rng,
    ):
        self.gold, self.rare = gold, member % 2 == 1
        self.taste = deviation * rng("taste", member).normal(torch.arange(responses))

    def __call__(self, samples: Samples) -> Tensor:
        response = samples.action[..., 0]
        known = (response >= COMMON["bandit"]) == self.rare
        return torch.where(known, self.gold(samples)[0], self.taste[response])[None]


def facts_of(
    reference: TablePolicy, gold: BagGold | ArmGold, proxies: LinearReward
) -> Callable[[Sampler], dict[str, float]]:
    """The `facts` of a bag or a bandit, see World.

    Args:
        reference: The policy to which the KL is.
        gold: With exact moments.
        proxies: With exact moments.
    """

    def facts(policy: Sampler) -> dict[str, float]:
        """Exact expectations over this world's prompts; nothing for a policy that is no table."""
        if not isinstance(policy, TablePolicy):
            return {}
        with torch.no_grad():
            probs = policy.logits.double().softmax(-1)
            means = proxies.moments(probs, policy.length)[0].mean(-1)
            every = reference.prompts(torch.arange(len(probs)))
            return {
                "gold": float(gold.moments(probs)[0].mean()),
                "kl": float(policy.length * policy.kl_per_decision(reference, every).mean()),
                **{name: float(m) for name, m in zip(proxies.names, means, strict=True)},
            }

    return facts
