"""A bandit of bins with contexts, its data policy, and losses on completions drawn from either.

For the study `mode_seeking`: a small network maps a context to logits of bins. It starts exactly at
the data policy, whatever the context, and a reward has one peak among the bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Rng
from assay.formulas.logit_flows import squashed_cauchy
from assay.formulas.pairwise import dpo, ipo
from assay.formulas.surrogate import clipped
from assay.loops.sequences import Network

LOC, SCALE = -0.7, 0.4  # of the data policy, before tanh
PEAK = 10.0  # width of the reward's peak, in bins


@dataclass(frozen=True)
class Draws:
    """N completions of each of S contexts, with their rewards.

    Attributes:
        context: What the policy sees.
        action: The bins drawn.
        reward: Their rewards.
        logp: Log-probabilities under the policy that drew them.
        ref_logp: Log-probabilities under the data policy.
        mask: True throughout.
    """

    context: Float[Tensor, "S F"]
    action: Int[Tensor, "S N"]
    reward: Float[Tensor, "S N"]
    logp: Float[Tensor, "S N"]
    ref_logp: Float[Tensor, "S N"]
    mask: Bool[Tensor, "S N"]

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: Any) -> Draws:
        return Draws(*(getattr(self, f.name)[rows] for f in fields(self)))


class Bandit:
    """Bins, a data policy and a reward exp(−((bin − centre)/10)²).

    Args:
        bins: Bins.
        centre: The bin of the highest reward, 1.
    """

    def __init__(self, bins: int, centre: float):
        self.data = squashed_cauchy(bins=bins, loc=LOC, scale=SCALE).float()
        self.worth = torch.exp(-(((torch.arange(bins) - centre) / PEAK) ** 2))

    def policy(self, features: int, rng: Rng) -> Network:
        """A network whose every first distribution is the data policy's."""
        net = Network(features, len(self.data), rng)
        with torch.no_grad():
            net.layers[4].zero_()
            net.layers[5].copy_(self.data.log())
        return net

    @torch.no_grad()
    def draw(self, net: Network | None, context: Float[Tensor, "S F"], n: int, rng: Rng) -> Draws:
        """Draw n completions of each context from a policy, or from the data if there is none.

        Args:
            net: The policy; None for the data policy.
            context: The contexts.
            n: Completions a context.
            rng: The address of the draws.
        """
        table = self.data.log().expand(len(context), -1)
        if net is not None:
            table = net(context).log_softmax(-1)
        cdf = table.double().exp().cumsum(-1)
        u = rng.uniform(torch.arange(len(context))[:, None], torch.arange(n), dtype=torch.float64)
        action = torch.searchsorted(cdf / cdf[:, -1:], u, right=True).clamp(max=table.shape[1] - 1)
        logp, ref = table.gather(1, action), self.data.log()[action]
        return Draws(context, action, self.worth[action], logp, ref, torch.ones_like(action) > 0)

    @torch.no_grad()
    def reading(self, net: Network, context: Float[Tensor, "S F"]) -> dict[str, float]:
        """Exact means over contexts: reward, and KL from the data policy in nats."""
        logp = net(context).log_softmax(-1)
        kl = (logp.exp() * (logp - self.data.log())).sum(-1)
        return {"reward": float((logp.exp() @ self.worth).mean()), "kl": float(kl.mean())}


@dataclass(frozen=True)
class Constants:
    """Constants of the losses.

    Attributes:
        beta: β of DPO.
        target: Difference of log-ratios at which IPO settles, 1/(2τ).
        temperature: Of AWR's weights e^(r/temperature), in units of reward.
        clip: Of PPO's ratio.
        negative: Whether what is bad is pushed down.
    """

    beta: float
    target: float
    temperature: float
    clip: float
    negative: bool


def better(reward: Float[Tensor, "S N"]) -> Float[Tensor, "S N N"]:
    """Weights of all pairs (winner, loser) of a context, summing to 1; 0 where rewards tie."""
    won = (reward[:, :, None] > reward[:, None, :]).to(reward.dtype)
    return won / won.sum((1, 2), keepdim=True).clamp(min=1)


def _pairs(f: Callable[[Tensor, Tensor], Tensor], logp: Tensor, x: Draws, negative: bool) -> Tensor:
    """The mean over pairs of a loss of two log-ratios; without `negative` the loser's is fixed."""
    ratio = logp - x.ref_logp
    lost = ratio if negative else ratio.detach()
    won, lost = torch.broadcast_tensors(ratio[:, :, None], lost[:, None, :])
    return (better(x.reward) * f(won, lost)).sum((1, 2))


def _dpo(logp: Tensor, x: Draws, c: Constants) -> Tensor:
    return _pairs(lambda w, l: dpo(w, l, beta=c.beta), logp, x, c.negative)


def _ipo(logp: Tensor, x: Draws, c: Constants) -> Tensor:
    return _pairs(lambda w, l: ipo(w, l, tau=1 / (2 * c.target)), logp, x, c.negative)


def _best_of_n(logp: Tensor, x: Draws, c: Constants) -> Tensor:
    return -logp.gather(1, x.reward.argmax(1, keepdim=True))[:, 0]


def _pref_ft(logp: Tensor, x: Draws, c: Constants) -> Tensor:
    return -(better(x.reward).sum(2) * logp).sum(1)


def _awr(logp: Tensor, x: Draws, c: Constants) -> Tensor:
    return -(((x.reward - 1) / c.temperature).exp() * logp).mean(1)  # −1 is a factor: no overflow


def _advantage(x: Draws, c: Constants) -> Tensor:
    a = x.reward - x.reward.mean(1, keepdim=True)
    return a if c.negative else a.clamp(min=0)


def _reinforce(logp: Tensor, x: Draws, c: Constants) -> Tensor:
    return -(_advantage(x, c) * logp).mean(1)


def _ppo(logp: Tensor, x: Draws, c: Constants) -> Tensor:
    one = (t[..., None] for t in (logp, x.logp, _advantage(x, c)))
    return clipped(*one, low=c.clip, high=c.clip)[..., 0].mean(1)


METHODS: dict[str, Callable[[Tensor, Draws, Constants], Tensor]] = {
    "best_of_n": _best_of_n,
    "pref_ft": _pref_ft,
    "dpo": _dpo,
    "ipo": _ipo,
    "awr": _awr,
    "reinforce": _reinforce,
    "ppo": _ppo,
}
HAVE_NEGATIVE = ("dpo", "ipo", "reinforce", "ppo")


def loss(method: str, net: Network, x: Draws, constants: Constants) -> Float[Tensor, "S"]:
    """A method's loss of each context.

    Args:
        method: One of METHODS.
        net: The policy.
        x: Completions and their rewards.
        constants: The method's.
    """
    return METHODS[method](net(x.context).log_softmax(-1).gather(1, x.action), x, constants)
