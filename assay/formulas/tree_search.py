"""Tree search over reasoning steps: selection rules, backed-up values, labels from visits."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def step_prior(
    logp: Float[Tensor, "*S"], length: Float[Tensor, "*S"], *, penalty: float
) -> Float[Tensor, "*S"]:
    """Prior of a step in `puct`: exp(Σ_t log π_t / length^penalty).

    Args:
        logp: Σ_t log π_t over the step's tokens `[*S]`, in nats.
        length: Tokens of the step, at least 1 `[*S]`.
        penalty: 1 gives the geometric mean of the tokens' probabilities; above 1, long steps have
            more than that.

    Returns:
        `[*S]`, from 0 to 1.

    Source: released code of Xie et al., arXiv:2405.00451, 2024.
    """
    return (logp / length**penalty).exp()


def puct(
    q: Float[Tensor, "*S K"],
    prior: Float[Tensor, "*S K"],
    visits: Float[Tensor, "*S K"],
    parent_visits: Float[Tensor, "*S"],
    *,
    c: float,
) -> Float[Tensor, "*S K"]:
    """Which child is visited next, the one of the highest value: Q + c·p·√N_parent / (1 + N).

    Args:
        q: Q of each child `[*S, K]`.
        prior: p of each child `[*S, K]`.
        visits: N of each child `[*S, K]`.
        parent_visits: N of their parent `[*S]`.
        c: Weight of exploration.

    Returns:
        `[*S, K]`.

    Source: Xie et al., arXiv:2405.00451, 2024.
    """
    return q + c * prior * parent_visits[..., None].sqrt() / (1 + visits)


def uct(
    value: Float[Tensor, "*S K"],
    visits: Float[Tensor, "*S K"],
    parent_visits: Float[Tensor, "*S"],
    *,
    c: float,
    unvisited: float = torch.inf,
) -> Float[Tensor, "*S K"]:
    """Which child is visited next: V + c·√(log N_parent / N), a constant for one never visited.

    Args:
        value: V of each child `[*S, K]`.
        visits: N of each child `[*S, K]`.
        parent_visits: N of their parent, at least 1 `[*S]`.
        c: Weight of exploration.
        unvisited: What a child that was never visited is worth; 5 in MedS³.

    Returns:
        `[*S, K]`.

    Source: Kocsis & Szepesvári, 2006; as used in MedS³, arXiv:2501.12051.
    """
    width = (parent_visits[..., None].log() / visits.clamp(min=1)).sqrt()
    return torch.where(visits > 0, value + c * width, unvisited)


def backed_up(q: Float[Tensor, "*S K"], visits: Float[Tensor, "*S K"]) -> Float[Tensor, "*S"]:
    """Value of a node from its children: Σ max(1, N)·Q / Σ max(1, N).

    A child that was never visited counts once, with the value that it was given when it was made.

    Args:
        q: Q of each child `[*S, K]`.
        visits: N of each child `[*S, K]`.

    Returns:
        `[*S]`.

    Source: released code of Xie et al., arXiv:2405.00451, 2024.
    """
    n = visits.clamp(min=1)
    return (n * q).sum(-1) / n.sum(-1)


def halfway_backed_up(
    own: Float[Tensor, "*S"], value: Float[Tensor, "*S K"], visits: Float[Tensor, "*S K"]
) -> Float[Tensor, "*S"]:
    """Value of a node after one of its children was visited: (V + Σ N·V_child / Σ N) / 2.

    The node's own estimate keeps half of the weight, so that a beginning that ended right every
    time is not taken for certain.

    Args:
        own: V before `[*S]`.
        value: V of each child `[*S, K]`.
        visits: N of each child, at least one of them above 0 `[*S, K]`.

    Returns:
        `[*S]`.

    Source: released code of MedS³, arXiv:2501.12051, `update_rule: comp`.
    """
    return (own + (visits * value).sum(-1) / visits.sum(-1)) / 2


def visit_smoothing(
    chosen: Float[Tensor, "*S"], rejected: Float[Tensor, "*S"]
) -> Float[Tensor, "*S"]:
    """Share ε of labels taken as wrong, from visits: N_l/(N_w + N_l), at most ½; ½ without visits.

    Args:
        chosen: Visits N_w of the preferred step `[*S]`.
        rejected: Visits N_l of the other `[*S]`.

    Returns:
        `[*S]`, from 0 to ½.

    Source: Xie et al., arXiv:2405.00451, 2024.
    """
    total = chosen + rejected
    share = torch.where(total > 0, rejected / total.clamp(min=1), 0.5)
    return share.clamp(max=0.5)
