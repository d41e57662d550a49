"""Linear general preference models fitted to pairs, by SciPy's L-BFGS.

Without planes the problem is the strictly convex one of `linear_solvers.bradley_terry_optimum`.
With planes it has saddles: every member starts at small random planes of its own address.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from assay.core.rng import Rng

_START = 0.1  # standard deviation of a response's first coordinates, features of length 1
Array = NDArray[Any]


def general_preference_optimum(
    x: Any,
    pairs: Int[Tensor, "B 2"],
    *,
    p: Float[Tensor, "B"],
    margin: Float[Tensor, "B"],
    ridge: float,
    counts: Float[Tensor, "B M"],
    dim: int,
    rng: Rng,
    smoothing: float = 0.0,
    plane_ridge: float | None = None,
) -> Float[Tensor, "W M E"]:
    """Fit M linear general preference models to pairs.

    min_{w,U} Σ_b counts[b]·(−q·log σ(u_b) − (1−q)·log σ(−u_b)) + ½·ridge·‖w‖² + ½·plane_ridge·‖U‖²

    with u = w·(φ(first) − φ(second)) + ⟨R Uφ(first), Uφ(second)⟩ − margin and
    q = smoothing + (1 − 2·smoothing)·p. ½‖U‖² is the nuclear norm of UᵀRU in disguise: a plane
    stays at 0 unless the pairs hold more of a cycle than its ridge costs.

    Args:
        x: Features `[R, W]`: a SciPy sparse array or a dense tensor.
        pairs: The rows of each pair, chosen first.
        p: The probability that the first is preferred.
        margin: What the log-odds must exceed.
        ridge: The weight of ‖w‖², above 0.
        counts: How often pair b counts for member m.
        dim: Coordinates of U, two a plane; 0 for Bradley–Terry.
        rng: The address of the members' first planes.
        smoothing: The share of labels taken as wrong.
        plane_ridge: The weight of ‖U‖²; by default `ridge`.

    Returns:
        (w, U) of each member, E = 1 + dim.
    """
    from scipy.optimize import minimize

    rows = (x.numpy() if isinstance(x, Tensor) else x).astype(np.float64)
    label = smoothing + (1 - 2 * smoothing) * p.double().numpy()
    width, out = rows.shape[1], []
    each = np.array([ridge, *[ridge if plane_ridge is None else plane_ridge] * dim])
    for m, own in enumerate(counts.double().numpy().T):
        loss = _Loss(rows, pairs.numpy(), label, margin.double().numpy(), each, own)
        place = torch.arange(width * dim)
        first = rng("planes", m).normal(place, dtype=torch.float64).view(width, dim)
        start = np.concatenate([np.zeros((width, 1)), _START * first.numpy()], 1).ravel()
        options = {
            "maxiter": 2000,
            "maxfun": 4000,
            "gtol": 1e-5 * max(1.0, float(own.sum()) ** 0.5),
        }
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
        out.append(found.x.reshape(width, 1 + dim))
    return torch.from_numpy(np.stack(out, 1)).float()


class _Loss:
    """One member's loss and its gradient."""

    def __init__(
        self,
        x: Any,
        pairs: Array,
        label: Array,
        margin: Array,
        ridge: Array,
        counts: Array,
    ):
        self.x, self.label, self.margin, self.ridge = x, label, margin, ridge
        (self.first, self.second), self.counts = pairs.T, counts

    def __call__(self, flat: Array) -> tuple[float, Array]:
        from scipy.special import expit, log_expit

        w = flat.reshape(-1, len(self.ridge))
        e = self.x @ w
        a, b = e[self.first], e[self.second]
        skew = a[:, 1::2] * b[:, 2::2] - a[:, 2::2] * b[:, 1::2]
        u = a[:, 0] - b[:, 0] + skew.sum(1) - self.margin
        each = -self.label * log_expit(u) - (1 - self.label) * log_expit(-u)
        slope = (self.counts * (expit(u) - self.label))[:, None]
        of_a, of_b = np.ones_like(a), -np.ones_like(b)
        of_a[:, 1::2], of_a[:, 2::2] = b[:, 2::2], -b[:, 1::2]
        of_b[:, 1::2], of_b[:, 2::2] = -a[:, 2::2], a[:, 1::2]
        back = np.zeros_like(e)
        np.add.at(back, self.first, slope * of_a)
        np.add.at(back, self.second, slope * of_b)
        gradient = self.x.T @ back + self.ridge * w
        return float(self.counts @ each + 0.5 * (self.ridge * w * w).sum()), gradient.ravel()
