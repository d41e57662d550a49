"""What compares completions, and the door in front of it.

Behind the door rows are split over processes, comparisons are counted and numbers are checked.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core.naming import named, sample_of
from assay.core.samples import Samples
from assay.engine.parallel import gather, meter, share, world_size
from assay.errors import InputError

CLOSE = 1e-4  # rounding of float32, and of what a server writes


@runtime_checkable
class PreferenceModel(Protocol):
    """P(a beats b) − ½, antisymmetric by law: f(a,b) = −f(b,a)ᵀ."""

    def __call__(self, a: Samples, b: Samples) -> Float[Tensor, "B Na Nb"]: ...


class CheckedPreference:
    """A preference model behind its door: rows split, comparisons counted, numbers checked.

    A pair of present completions is one comparison. Completions that are compared among themselves
    (a is b) are Na·(Na − 1)/2 pairs: the other half follows by antisymmetry, and the diagonal is 0.
    That f(a,b) = −f(b,a)ᵀ is checked where a is b, and else on the first row of the first call.

    Args:
        model: Any PreferenceModel.
    """

    def __init__(self, model: PreferenceModel):
        self.model = model
        self._law = False  # whether the law was checked

    def __call__(self, a: Samples, b: Samples) -> Float[Tensor, "B Na Nb"]:
        """Compare each of a row's completions in a with each of its completions in b.

        Args:
            a: Completions of B prompts, Na each.
            b: Completions of the same prompts, Nb each.

        Returns:
            P(a beats b) − ½, `[B,Na,Nb]`; 0 where one of the two is absent.

        Raises:
            InputError: The two have other prompts, a number is not finite or no probability minus
                ½, or f(a,b) is not −f(b,a)ᵀ.
        """
        if len(a) != len(b) or not torch.equal(a.prompts.row, b.prompts.row):
            raise InputError(
                f"completions of {len(a)} prompts were compared with completions of {len(b)} other "
                "prompts; compare completions of the same prompts, in the same order"
            )
        found = self._compared(a, b)
        both = a.present[:, :, None] & b.present[:, None, :]
        self._check(found, both, a)
        found = torch.where(both, found, found.new_zeros(()))
        if a is b:
            self._check_law(found, found)
        elif not self._law:
            one = torch.zeros(1, dtype=torch.int64)
            back = self._asked(b[one], a[one])
            self._check_law(found[:1], torch.where(both[:1].mT, back, back.new_zeros(())))
        self._law = True
        meter.add("scored", spent := self._pairs(both, a is b))
        meter.add("compared", spent)
        return found

    def _compared(self, a: Samples, b: Samples) -> Tensor:
        """Compare this process's rows; every process checks the whole."""
        B = len(a)
        if 1 < world_size() <= B:
            mine = torch.arange(B)[share(B)]
            ours = a[mine]
            return gather(self._asked(ours, ours if a is b else b[mine]))
        return self._asked(a, b)

    def _asked(self, a: Samples, b: Samples) -> Tensor:
        with torch.no_grad():
            found = self.model(a, b)
        want = (len(a), a.mask.shape[1], b.mask.shape[1])
        if not isinstance(found, Tensor) or tuple(found.shape) != want:
            what = f"shape {list(found.shape)}" if isinstance(found, Tensor) else f"{type(found)}"
            raise InputError(
                f"the preference model returned {what}; [B,Na,Nb] = {list(want)} was asked for"
            )
        return found

    @staticmethod
    def _pairs(both: Tensor, same: bool) -> int:
        if not same:
            return int(both.sum())
        n = both.diagonal(dim1=1, dim2=2).sum(-1)
        return int((n * (n - 1) // 2).sum())

    @staticmethod
    def _check(found: Tensor, both: Tensor, a: Samples) -> None:
        bad = both & ~(found.abs() <= 0.5 + CLOSE)  # NaN too
        if bool(bad.any()):
            b, i, j = (int(k) for k in bad.nonzero()[0])
            raise InputError(
                f"the preference model gave {float(found[b, i, j])} for "
                f"{named(sample_of(a, b, i))} against completion {j} ({int(bad.sum())} of "
                f"{int(both.sum())} comparisons); return P(a beats b) − ½, a number from −½ to ½"
            )

    @staticmethod
    def _check_law(found: Tensor, back: Tensor) -> None:
        gap = (found + back.mT).abs()
        if gap.numel() and float(gap.max()) > CLOSE:
            _, i, j = (int(k) for k in (gap == gap.max()).nonzero()[0])
            raise InputError(
                f"the preference model is not antisymmetric: P(a beats b) + P(b beats a) differs "
                f"from 1 by {float(gap.max()):.4f} for completions {i} and {j}; ask in both orders "
                "and return half the difference"
            )
