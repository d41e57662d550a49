"""Rewards of completions that ask other models: the right form, and what the answers cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.data.turns import Turns
from assay.models.policies.asking import Solver, called

_INNER = r"(?:(?!</?(?:think|search|information|answer)>).)*"
_ASKED = re.compile(
    rf"<search>({_INNER})</search>\s*<information>({_INNER})(?:</information>|\Z)", re.S
)
_FORM = re.compile(
    rf"\s*(?:<think>{_INNER}</think>\s*|<search>{_INNER}</search>\s*"
    rf"<information>{_INNER}</information>\s*)*<answer>{_INNER}</answer>\s*",
    re.S,
)


class RoutedText:
    """Two members: format and cost.

    format is 1 where a completion is thoughts and calls to known models, each with its answer, and
    then one `<answer>…</answer>`; else 0. cost is Σ price · tokens of the answer / 1000.

    Args:
        solvers: The models that can be asked, with their prices.
    """

    kind, partial = "function", False
    names = ("format", "cost")

    def __init__(self, solvers: Mapping[str, Solver]):
        self.solvers = dict(solvers)

    def to(self, device: torch.device) -> RoutedText:
        """Return itself: nothing is computed on a device."""
        return self

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "M R"]:
        """See TextReward."""
        return torch.tensor([self._of(r) for r in responses]).view(-1, 2).T

    def _of(self, text: str) -> tuple[float, float]:
        cost, known = 0.0, True
        for inner, answer in _ASKED.findall(text):
            solver = self.solvers.get(called(inner)[0])
            known = known and solver is not None
            if solver is not None:
                cost += solver.price * solver.tokens(answer) / 1000
        return float(known and _FORM.fullmatch(text) is not None), cost
