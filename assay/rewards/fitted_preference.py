"""A fitted general preference model on text: members, their folder, and what they say of two texts.

A member is a score and an embedding of each response. Both are linear in the same features, so that
the model is a linear reward of several outputs and a skew product: its folder holds that reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.data.turns import Turns
from assay.errors import InputError
from assay.formulas.preference_embedding import general_preference_log_odds
from assay.rewards import frozen, linear_text
from assay.rewards.folder import describe, files_in, read_reward, write_reward
from assay.rewards.text_scorer import TextReward

KIND = "general preference model"
INSIDE = "embedding"  # the folder of the linear reward


class FittedPreference:
    """M members that compare two texts.

    P(y ≻ y′) is the mean over members of σ(r(y) − r(y′) + ⟨R v(y), v(y′)⟩).

    Args:
        embedding: A linear reward of M·(1 + dim) outputs: each member's score, then its embedding.
        dim: Coordinates of an embedding, two a plane.

    Attributes:
        names: The members' names.
    """

    kind = KIND

    def __init__(self, embedding: TextReward, dim: int):
        self.embedding, self.dim = embedding, dim
        members, rest = divmod(len(embedding.names), 1 + dim)
        if dim % 2 or rest or not members:
            raise InputError(
                f"{len(embedding.names)} outputs are no members of 1 score and {dim} coordinates "
                "each, an even number"
            )
        self.names = tuple(f"member{m}" for m in range(members))

    def embedded(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "R M E"]:
        """Each member's score and embedding of responses, in float64.

        Args:
            prompts: R prompts as text.
            responses: R responses.
            turns: The conversation of each prompt, or None where it is plain text.
            columns: Other columns of the prompts' file.
        """
        found = self.embedding.scores(prompts, responses, turns, columns).double().cpu()
        return self.arranged(found)

    def arranged(self, outputs: Float[Tensor, "ME R"]) -> Float[Tensor, "R M E"]:
        """The embedding's outputs by response, member and coordinate."""
        return outputs.double().view(len(self.names), 1 + self.dim, -1).permute(2, 0, 1)

    def chances(
        self, first: Float[Tensor, "*#S M E"], second: Float[Tensor, "*#S M E"]
    ) -> Float[Tensor, "*S"]:
        """P(first ≻ second) − ½ of embedded responses, the mean of the members'.

        σ(z) − ½ is tanh(z/2)/2, which is odd to the last bit: f(a,b) = −f(b,a) exactly.

        Args:
            first: Embedded responses `[*S, M, E]`.
            second: The others, of a shape that broadcasts.
        """
        return (torch.tanh(general_preference_log_odds(first, second) / 2) / 2).mean(-1)

    def compare(
        self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]
    ) -> Float[Tensor, "R"]:
        """P(first ≻ second) of R pairs of texts.

        Args:
            prompts: The prompts.
            first: A response to each.
            second: Another response to each.
        """
        return 0.5 + self.chances(self.embedded(prompts, first), self.embedded(prompts, second))

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "ME R"]:
        """The outputs of `embedding`, which a saved folder must give again; no reward."""
        return self.embedding.scores(prompts, responses, turns, columns)

    def save(self, folder: Path | str) -> None:
        """Write the folder that `load` reads: the linear reward, and what it is read as."""
        embedding: Any = self.embedding
        embedding.save(Path(folder) / INSIDE)
        files = files_in(Path(folder), INSIDE)
        write_reward(folder, KIND, self.names, {}, {"dim": self.dim}, files=files)

    @classmethod
    def load(cls, folder: Path | str) -> FittedPreference:
        """Read what `save` wrote.

        Raises:
            InputError: The folder holds no general preference model, or a damaged one.
        """
        kinds: dict[str, Any] = {
            linear_text.KIND: linear_text.LinearTextReward,
            frozen.KIND: frozen.FrozenReward,
        }

        def made(about: dict[str, Any], _: dict[str, Tensor]) -> FittedPreference:
            inside = Path(folder) / INSIDE
            return cls(kinds[describe(inside)["kind"]].load(inside), about["dim"])

        return read_reward(folder, KIND, made)
