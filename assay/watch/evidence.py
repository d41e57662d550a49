"""The evidence of a fall and of a rise: capital that bets on outcomes, look by look.

See `assay.formulas.sequential` for the bets, and for why their capital is evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from assay.errors import InputError
from assay.formulas import sequential as seq
from assay.watch.schedule import DetectorSettings

F64 = torch.float64
Numbers = Sequence[float] | Tensor


class Evidence:
    """Capital of J bets that the policy has fallen, and of J bets that it has risen.

    The bets of a look are fixed when the look begins, from earlier looks alone. A share of the
    capital bets with the proxy's help, the rest on labels alone.

    Args:
        settings: The detector's.

    Attributes:
        log_s: Log capital of the bets on a fall `[2, J]`: with the proxy's help, on labels alone.
        log_up: Log capital of the bets on a rise `[J]`.
        past: n, Σy, Σy², Σyu and Σu² of earlier looks, y = w(x − ½) and u the control.
        fresh: The same sums for this look.
        lam: This look's bets on a fall `[2, J]`.
        lam_up: This look's bets on a rise `[J]`.
        c: This look's slope of the control.
    """

    def __init__(self, settings: DetectorSettings):
        self.settings = settings
        J = len(settings.rates)
        self.log_s = torch.full((2, J), -math.inf, dtype=F64)
        self.log_up = torch.zeros(J, dtype=F64)
        self.past = torch.zeros(5, dtype=F64)
        self._fix_bets()

    @property
    def null(self) -> float:
        """m: the least mean of an outcome under the null."""
        return seq.null_mean(delta=self.settings.delta, flip=self.settings.flip_least)

    @property
    def log_fall(self) -> float:
        """Log-evidence of a fall; −inf before the first look."""
        trust = torch.tensor([self.settings.trust, 1 - self.settings.trust], dtype=F64)
        return float(torch.logsumexp(self.log_s + trust.log()[:, None], (0, 1)))

    @property
    def log_rise(self) -> float:
        """Log-evidence of a rise: a CUSUM, so it never stays below 0 for long."""
        return float(torch.logsumexp(self.log_up, 0)) - math.log(len(self.log_up))

    def begin(self, mass: float) -> None:
        """Begin a look: move capital among the bets, start new ones, and fix this look's bets.

        Args:
            mass: The prior's mass of the looks whose bets begin now.
        """
        s = self.settings
        if s.deepen:
            moves = seq.deepening(J=self.log_s.shape[1], rate=s.deepen)
            self.log_s = seq.deepened(self.log_s, moves)
        start = math.log(mass / len(s.rates)) if mass > 0 else -math.inf
        self.log_s = torch.logaddexp(self.log_s, torch.tensor(start, dtype=F64))
        self.log_up = self.log_up.clamp(min=0)
        self.past = self.past + self.fresh
        self._fix_bets()

    def add(self, x: Tensor, u: Tensor, w: Tensor) -> list[float]:
        """Let the bets meet outcomes of this look.

        Args:
            x: Outcomes `[L]`.
            u: Controls `[L]`; 0 without a proxy.
            w: Weights `[L]`.

        Returns:
            The log pay of each of the J bets with the proxy's help.
        """
        null, pays = self.null, torch.zeros_like(self.log_s)
        none = torch.zeros((), dtype=F64)
        for g, c in enumerate((self.c, none)):
            pays[g] = seq.log_pays(x, self.lam[g], null=null, control=u, c=c, weight=w).sum(-1)
        self.log_s = self.log_s + pays
        self.log_up = self.log_up + seq.log_pays(1 - x, self.lam_up, null=0.5, weight=w).sum(-1)
        y = w * (x - 0.5)
        n = torch.tensor(float(len(x)), dtype=F64)
        self.fresh += torch.stack([n, y.sum(), y.square().sum(), (y * u).sum(), u.square().sum()])
        return [float(p) for p in pays[0]]

    def reset_rise(self) -> None:
        """Forget the evidence of a rise: the present policy is the best so far."""
        self.log_up = torch.zeros_like(self.log_up)

    def _fix_bets(self) -> None:
        """This look's bets, from earlier looks alone."""
        s, null = self.settings, self.null
        self.fresh = torch.zeros(5, dtype=F64)
        self.c, explained = seq.fit_control(*self.past)
        q = seq.flipped(torch.tensor(s.rates, dtype=F64), flip=s.flip)
        none = torch.zeros((), dtype=F64)

        def bets(c: Tensor, explained: Tensor) -> Tensor:
            most = seq.largest_bet(c, null=null, weight=s.weight)
            return seq.bets(q, null=null, explained=explained, most=most)

        self.lam = torch.stack([bets(self.c, explained), bets(none, none)])
        self.lam_up = seq.bets(q, null=0.5, most=seq.largest_bet(none, null=0.5, weight=s.weight))

    def state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {k: getattr(self, k).tolist() for k in ("log_s", "log_up", "past", "fresh")}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.past = torch.tensor(state["past"], dtype=F64)
        self._fix_bets()
        for name in ("fresh", "log_s", "log_up"):
            setattr(self, name, torch.tensor(state[name], dtype=F64))


def controls(
    x: Tensor,
    proxy: Numbers | None,
    pool: Sequence[Sequence[float]] | Tensor | None,
    w: Tensor,
) -> Tensor:
    """The control of each outcome.

    Args:
        x: Outcomes `[L]`.
        proxy: The reward models' probability that the current policy won `[L]`; None without.
        pool: The same for the group of each outcome `[L, K]`; None without.
        w: Weights `[L]`.

    Returns:
        Controls `[L]`, 0 without a proxy.

    Raises:
        InputError: One of proxy and pool is missing, or a value is out of range.
    """
    if (proxy is None) != (pool is None):
        raise InputError(
            "the watch was given a proxy without its pool, or a pool without its proxy; give "
            "both or neither"
        )
    if proxy is None:
        return torch.zeros_like(x)
    z = numbers("proxy", proxy, 0, 1, len(x))
    return seq.control(z, numbers("pool", pool, 0, 1, len(x), axes=2), w)


def numbers(
    name: str, values: Any, least: float, most: float, n: int | None = None, axes: int = 1
) -> Tensor:
    """Check what a detector is fed.

    Args:
        name: What the values are, for messages.
        values: A tensor or nested sequences.
        least: The smallest value that is allowed.
        most: The largest value that is allowed.
        n: The length of the first axis; None for any.
        axes: The number of axes.

    Returns:
        The values in float64.

    Raises:
        InputError: The shape is another, or a value is NaN or out of bounds.
    """
    t = torch.as_tensor(values, dtype=torch.float64)
    if t.dim() != axes or (n is not None and len(t) != n):
        raise InputError(
            f"the watch's {name} have shape {list(t.shape)}; {axes} axes were expected"
            + ("" if n is None else f", and {n} rows")
        )
    bad = ~((t >= least) & (t <= most))
    if bool(bad.any()):
        i = [int(k) for k in bad.nonzero()[0]]
        raise InputError(
            f"the watch's {name} hold {float(t[tuple(i)])} at place {i[0]}; they are numbers from "
            f"{least:g} to {most:g}"
        )
    return t
