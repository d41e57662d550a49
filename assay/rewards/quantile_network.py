"""Weights of an ensemble's quantiles by a small network of features, fitted by the pinball loss.

A network g maps features of a completion to a weight for each member and level; the weights of a
level sum to 1 over members. "global" weights are its last bias alone: they depend on the level and
not on the completion. Before the fit all members weigh the same.

Source: Fakoor et al., "Flexible Model Aggregation for Quantile Regression", arXiv:2103.00083: deep
    quantile aggregation, with out-of-fold predictions of the members, a penalty on crossing, and
    sorting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core.rng import Rng
from assay.formulas.quantile import crossing, pinball, regression

LOCAL, GLOBAL = "local", "global"
FOLDS = 4


class Network(NamedTuple):
    """The weights of g, and how features are standardised.

    Attributes:
        first: `[F, H]`.
        first_bias: `[H]`.
        last: `[H, M·Q]`.
        last_bias: `[M·Q]`.
        centre: Means of the features `[F]`.
        scale: Their standard deviations `[F]`.
    """

    first: Float[Tensor, "F H"]
    first_bias: Float[Tensor, "H"]
    last: Float[Tensor, "H MQ"]
    last_bias: Float[Tensor, "MQ"]
    centre: Float[Tensor, "F"]
    scale: Float[Tensor, "F"]


def weights(network: Network, features: Float[Tensor, "*S F"], members: int) -> Tensor:
    """Weights of members, `[M, *S, Q]`.

    Sums are written out: a matrix product's last bit depends on where its operands lie in memory.
    """
    x = (features.double() - network.centre) / network.scale
    hidden = ((x[..., :, None] * network.first).sum(-2) + network.first_bias).tanh()
    out = (hidden[..., :, None] * network.last).sum(-2) + network.last_bias
    return out.unflatten(-1, (members, -1)).softmax(-2).movedim(-2, 0)


def out_of_fold(
    inputs: Float[Tensor, "M S F"],
    truth: Float[Tensor, "S"],
    levels: Float[Tensor, "Q"],
    rng: Rng,
) -> Float[Tensor, "M S Q"]:
    """Quantiles of each member at every row, by a regression that has not seen the row.

    A network that weighs members by how they fit their own training rows would weigh those most
    that overfit.
    """
    S = len(truth)
    fold = rng("folds").permutation(S) % FOLDS
    out = inputs.new_zeros(len(inputs), S, len(levels))
    for k in range(FOLDS):
        held, rest = fold == k, fold != k
        for m, x in enumerate(inputs):
            slopes = regression(x[rest], truth[rest], levels)
            out[m, held] = (x[held][:, :, None] * slopes).sum(1)
    return out


def fitted(
    predicted: Float[Tensor, "M S Q"],
    features: Float[Tensor, "S F"],
    truth: Float[Tensor, "S"],
    levels: Float[Tensor, "Q"],
    rng: Rng,
    *,
    kind: str = LOCAL,
    hidden: int = 8,
    decay: float = 1e-2,
    penalty: float = 1.0,
    rounds: int = 100,
) -> Network:
    """Fit the network by L-BFGS on all rows at once.

    Args:
        predicted: Quantiles of the members, out of fold.
        features: What the weights may depend on.
        truth: What the quantiles are of.
        levels: Ascending.
        rng: Address of the first weights.
        kind: "local", or "global" for weights that do not depend on features.
        hidden: Units.
        decay: Weight of the squared weights, in units of the truth's standard deviation.
        penalty: Weight of crossing.
        rounds: Iterations, at most.
    """
    from scipy.optimize import minimize

    M, F, Q = len(predicted), features.shape[1], len(levels)
    x, q, y = features.double(), predicted.double().movedim(0, -2), truth.double()
    centre, scale = x.mean(0), x.std(0, correction=0).clamp(min=1e-9)
    first = rng("first").normal(torch.arange(F)[:, None], torch.arange(hidden), dtype=torch.float64)
    start = Network(
        first / F**0.5,
        x.new_zeros(hidden),
        x.new_zeros(hidden, M * Q),
        x.new_zeros(M * Q),
        centre,
        scale,
    )
    trained = start[:4] if kind == LOCAL else start[3:4]
    sizes, unit = [w.numel() for w in trained], float(y.std(correction=0).clamp(min=1e-12))

    def network(flat: Tensor) -> Network:
        parts = [p.view_as(w) for p, w in zip(flat.split(sizes), trained, strict=True)]
        return start._replace(**dict(zip(Network._fields[4 - len(parts) : 4], parts, strict=True)))

    def loss(flat: Tensor) -> Tensor:
        of = network(flat)
        w = weights(of, x, M).movedim(0, -2)  # [S,M,Q]
        mixed = (w * q).sum(-2)
        miss = pinball(mixed, y, levels.double()).mean() + penalty * crossing(mixed).mean()
        return miss / unit + decay * (of.last.square().sum() + of.last_bias.square().sum())

    def both(flat: Any) -> tuple[float, Any]:
        at = torch.as_tensor(flat, dtype=torch.float64).clone().requires_grad_(True)
        with torch.enable_grad():
            value = loss(at)
            (slope,) = torch.autograd.grad(value, at)
        return float(value.detach()), slope.numpy()

    found = minimize(
        both,
        torch.cat([w.flatten() for w in trained]).numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": rounds},
    )
    return Network(*(p.clone() for p in network(torch.as_tensor(found.x, dtype=torch.float64))))
