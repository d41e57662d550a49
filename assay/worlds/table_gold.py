"""The golds of the table world, each with its exact mean and variance under a table policy."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.core import Samples


class BagGold:
    """A bag's gold: linear in the common tokens, bent in the rare ones.

    gold(y) = (Σ_t weight[y_t] + bend[K] − centre) / scale

    K is how many of y's tokens are `bent`. A reward that is linear in counts cannot express the
    bend. Under a table policy K is binomial and the other tokens are independent given K, so that
    mean and variance are sums of length + 1 terms.

    Args:
        weight: Value of each token `[V]`; 0 for the bent ones.
        bent: Which tokens are bent `[V]`.
        bend: Value of having 0, 1, … length bent tokens `[length + 1]`.

    Attributes:
        centre: Subtracted from the value.
        scale: Divides it.
    """

    def __init__(
        self, weight: Float[Tensor, "V"], bent: Bool[Tensor, "V"], bend: Float[Tensor, "K"]
    ):
        self.weight, self.bent, self.bend = weight, bent, bend
        self.centre, self.scale = 0.0, 1.0

    def __call__(self, samples: Samples) -> Float[Tensor, "1 B N"]:
        here = samples.mask | samples.given
        flat = torch.where(here, self.weight.to(samples.action.device)[samples.action], 0.0).sum(-1)
        count = (here & self.bent.to(samples.action.device)[samples.action]).sum(-1)
        return ((flat + self.bend.to(flat.device)[count] - self.centre) / self.scale)[None]

    def moments(self, probs: Float[Tensor, "R V"]) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
        """Exact mean and variance over completions of `len(bend) − 1` independent tokens.

        Args:
            probs: A table policy's probabilities `[R, V]`, a row for each context.

        Returns:
            Mean and variance in each context, both `[R]`.
        """
        probs, weight = probs.double(), self.weight.double()
        length = len(self.bend) - 1
        k = torch.arange(length + 1, dtype=torch.float64)
        inside = (probs * self.bent).sum(-1, keepdim=True).clamp(0, 1)  # [R,1]
        ways = (
            torch.lgamma(torch.tensor(length + 1.0, dtype=torch.float64))
            - torch.lgamma(k + 1)
            - torch.lgamma(length - k + 1)
        )
        chance = (
            ways + torch.xlogy(k, inside) + torch.xlogy(length - k, 1 - inside)
        ).exp()  # P(K = k) [R, length+1]
        rest = probs * ~self.bent
        rest = rest / rest.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        one = (rest * weight).sum(-1, keepdim=True)
        spread = (rest * weight.square()).sum(-1, keepdim=True) - one.square()
        given_k = (length - k) * one + self.bend.double()
        mean = (chance * given_k).sum(-1)
        variance = (chance * ((length - k) * spread + given_k.square())).sum(-1) - mean.square()
        return (mean - self.centre) / self.scale, variance.clamp(min=0) / self.scale**2


class ArmGold:
    """A bandit's gold: one value for each context and response.

    gold(x, y) = (value[x, y] − centre) / scale

    Args:
        value: `[R, V]`.

    Attributes:
        centre: Subtracted from the value.
        scale: Divides it.
    """

    def __init__(self, value: Float[Tensor, "R V"]):
        self.value = value
        self.centre, self.scale = 0.0, 1.0

    def __call__(self, samples: Samples) -> Float[Tensor, "1 B N"]:
        value = self.value.to(samples.action.device)[
            samples.prompts.row[:, None], samples.action[:, :, 0]
        ]
        return ((torch.where(samples.present, value, 0.0) - self.centre) / self.scale)[None]

    def moments(self, probs: Float[Tensor, "R V"]) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
        """Exact mean and variance in each context, both `[R]`, for probabilities `[R, V]`."""
        probs, value = probs.double(), self.value.double()
        mean = (probs * value).sum(-1)
        variance = (probs * value.square()).sum(-1) - mean.square()
        return (mean - self.centre) / self.scale, variance.clamp(min=0) / self.scale**2


def standardise(gold: BagGold | ArmGold, probs: Float[Tensor, "R V"]) -> None:
    """Set centre and scale so that a table policy's completions have mean 0 and variance 1.

    Args:
        gold: Changed in place.
        probs: The policy's probabilities `[R, V]`; all contexts count equally.
    """
    mean, variance = gold.moments(probs)
    gold.centre, gold.scale = (
        float(mean.mean()),
        float((variance.mean() + mean.var(correction=0)).sqrt()),
    )
