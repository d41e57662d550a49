"""Randomness by address: a number is a function of (seed, purpose, step, place).

It never depends on what was drawn before. So finished completions may leave a batch, rows may move
to another process, a run may be killed and resumed, and no number changes. Nothing here reads or
writes torch's global stream.
"""

from __future__ import annotations

import hashlib
from operator import index

import torch
from torch import Tensor


def _signed(x: int) -> int:
    """Return a 64-bit pattern as the signed integer that torch takes."""
    x &= (1 << 64) - 1
    return x - (1 << 64) if x >= 1 << 63 else x


_C1, _C2, _GOLDEN = (
    _signed(0xFF51AFD7ED558CCD),
    _signed(0xC4CEB9FE1A85EC53),
    _signed(0x9E3779B97F4A7C15),
)


def _mix(z: Tensor) -> Tensor:
    """Mix int64 bits: each input bit flips each output bit with chance ½ (MurmurHash3).

    Source: Appleby, 2011.
    """
    z = (z ^ ((z >> 33) & 0x7FFFFFFF)) * _C1
    z = (z ^ ((z >> 33) & 0x7FFFFFFF)) * _C2
    return z ^ ((z >> 33) & 0x7FFFFFFF)


class Rng:
    """An address, not a state.

    `rng("sample", t)` is the address of one purpose at one step, and `rng("sample", t, k)` of its
    k-th part; `rng[rows]` is the same address seen by some rows of the whole batch, so that a row
    keeps its numbers wherever it is computed. The drawing methods take coordinates (integers or
    integer tensors that broadcast); the first coordinate is the row.

    Args:
        seed: Of the root address.
        key: The address itself, instead of a seed.
        places: The rows of the whole batch that the local rows are; None: local rows are global.

    Example:
        >>> rng = Rng(0)("sample", 3)
        >>> whole = rng.uniform(torch.arange(4))
        >>> bool((rng[torch.tensor([2, 0])].uniform(torch.arange(2)) == whole[[2, 0]]).all())
        True
    """

    __slots__ = ("key", "places")

    def __init__(self, seed: int = 0, *, key: int | None = None, places: Tensor | None = None):
        self.key = (
            _signed(
                int.from_bytes(
                    hashlib.blake2b(f"seed {seed}".encode(), digest_size=8).digest(), "big"
                )
            )
            if key is None
            else key
        )
        self.places = places

    def __repr__(self) -> str:
        return (
            f"Rng(key={self.key:#x}{'' if self.places is None else f', {len(self.places)} places'})"
        )

    def __call__(self, purpose: str, *step: int) -> Rng:
        """Return the child address of (purpose, step, …).

        Args:
            purpose: Any name. Children of different names or numbers share no number.
            step: Any whole numbers, such as the step and the epoch in it; 0 where there is none.

        Example:
            >>> root = Rng(0)
            >>> root("order").key == root("order", 0).key
            True
            >>> root("order", 1).key == root("order", 1, 0).key
            False
        """
        numbers = " ".join(str(index(s)) for s in step or (0,))
        text = f"{self.key} {purpose} {numbers}".encode()
        return Rng(
            key=_signed(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")),
            places=self.places,
        )

    def __getitem__(self, rows: Tensor | slice) -> Rng:
        """Return this address for some rows: local row j is row `rows[j]` here."""
        if self.places is None and isinstance(rows, slice):
            if rows.stop is None or (rows.step or 1) != 1:
                raise ValueError(
                    "an Rng that has no places yet needs a slice with a stop and step 1, or a "
                    "tensor of rows"
                )
            return Rng(key=self.key, places=torch.arange(rows.start or 0, rows.stop))
        known = torch.as_tensor(rows) if self.places is None else self.places[rows]  # type: ignore[arg-type]
        return Rng(key=self.key, places=known)

    def bits(self, row: Tensor | int, *rest: Tensor | int) -> Tensor:
        """Draw 64 random bits a coordinate, as int64.

        Args:
            row: The local row.
            rest: Further coordinates; all broadcast together.
        """
        device = next(
            (c.device for c in (row, *rest) if isinstance(c, Tensor)), torch.device("cpu")
        )
        first = torch.as_tensor(row, device=device)
        if self.places is not None:
            first = self.places.to(device)[first]
        z = _mix(first.to(torch.int64) * _GOLDEN + self.key)
        for c in rest:
            z = _mix(z + (torch.as_tensor(c, device=device).to(torch.int64) + 1) * _GOLDEN)
        return _mix(z)

    def uniform(
        self, row: Tensor | int, *rest: Tensor | int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw from the open interval (0, 1): never 0 and never 1, so logarithms are finite."""
        if dtype == torch.float64:
            return (((self.bits(row, *rest) >> 12) & ((1 << 52) - 1)).to(dtype) + 0.5) / float(
                1 << 52
            )
        return (((self.bits(row, *rest) >> 41) & ((1 << 23) - 1)).to(torch.float32) + 0.5) / float(
            1 << 23
        )

    def normal(
        self, row: Tensor | int, *rest: Tensor | int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw from the standard normal, by the inverse of its distribution function."""
        return torch.special.ndtri(self.uniform(row, *rest, dtype=torch.float64)).to(dtype)

    def gumbel(
        self, row: Tensor | int, *rest: Tensor | int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw from the standard Gumbel: −log(−log u)."""
        return (-(-self.uniform(row, *rest, dtype=torch.float64).log()).log()).to(dtype)

    def integers(self, high: int, row: Tensor | int, *rest: Tensor | int) -> Tensor:
        """Draw integers from 0 … high−1."""
        return (self.uniform(row, *rest, dtype=torch.float64) * high).long().clamp(max=high - 1)

    def permutation(self, n: int) -> Tensor:
        """Draw a random order of n things `[n]`, one for the whole batch."""
        return torch.argsort(Rng(key=self.key).bits(torch.arange(n)), stable=True)

    def generator(self) -> torch.Generator:
        """Make a torch generator seeded by this address, for `torch.nn.init` and the like."""
        return torch.Generator().manual_seed(self.key & ((1 << 63) - 1))
