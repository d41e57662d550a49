"""Several rewards as one table of scores: a row for each reward, and for each of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay.audits.completions import Completions, Floats
from assay.core.prompt_texts import PromptTexts
from assay.engine import progress
from assay.errors import InputError
from assay.registry.live import PYTHON
from assay.rewards.evaluate import finite
from assay.rewards.function import FunctionReward
from assay.rewards.load import open_reward
from assay.rewards.text_scorer import TextReward
from assay.worlds.trial import try_rewards


@dataclass(frozen=True)
class Column:
    """What one row of the scores is.

    Attributes:
        name: What tables call it.
        of: The reward that it belongs to, by its name.
        member: Whether it is one of several members; if not, it is what training is given: the
            reward itself, or the mean of its members.
    """

    name: str
    of: str
    member: bool


@dataclass(frozen=True)
class Scorers:
    """The rewards of an audit.

    Attributes:
        rewards: The rewards, by name.
        columns: The C rows of the scores: each reward, followed by its members where it has
            several.
    """

    rewards: Mapping[str, TextReward]
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, rewards: Mapping[str, TextReward]) -> Scorers:
        """Name the rows of the scores."""
        columns = list[Column]()
        for name, reward in rewards.items():
            columns.append(Column(name, name, False))
            if len(reward.names) > 1:
                columns += [Column(f"{name}/{m}", name, True) for m in reward.names]
        return cls(dict(rewards), tuple(columns))

    def scores(self, x: Completions) -> Floats:
        """Score completions.

        Args:
            x: R completions.

        Returns:
            `[C, R]`, a row for each of `columns`; NaN where a reward does not apply.

        Raises:
            NotFinite: A score is not finite.
        """
        parts = [one for r in self.rewards.values() for one in _rows(of_reward(r, x))]
        return np.concatenate(parts) if len(x) else np.zeros((len(self.columns), 0))

    def members_columns(self) -> list[Column]:
        """Return what single members are: those of each reward, or the reward itself."""
        several = {c.of for c in self.columns if c.member}
        return [c for c in self.columns if c.member or c.name not in several]

    def members(self, scores: Floats) -> Floats:
        """Return the rows of single members: `[M, R]` of `[C, R]`."""
        here = self.members_columns()
        return scores[[c in here for c in self.columns]]

    def to(self, device: torch.device) -> Scorers:
        """Compute on a device."""
        return Scorers({k: r.to(device) for k, r in self.rewards.items()}, self.columns)

    def tried(self, x: Completions) -> None:
        """Call each function and server once, so that its errors come before anything else.

        Args:
            x: The completions; the first one's prompt is used.

        Raises:
            InputError: One of them lacks a column, raises, or returns anything but numbers.
        """
        rewards = list(self.rewards.values())
        for reward in rewards:
            if isinstance(reward, FunctionReward):
                reward.possible(x.columns, range(len(x)), "rewards", x.source)
        try_rewards(rewards, "rewards", PromptTexts(str, x.prompts, x.turns, x.columns), [0])


def of_reward(reward: TextReward, x: Completions) -> Float[Tensor, "M R"]:
    """Score completions by the members of one reward.

    Raises:
        NotFinite: A score is not finite, and the reward does not say that NaN means "does not
            apply".
    """
    with progress.stage(f"scoring {len(x):,} completions by {reward.names[0]}"):
        return finite(reward, reward.scores(x.prompts, x.responses, x.turns, x.columns))


def _rows(scores: Float[Tensor, "M R"]) -> list[Floats]:
    each = scores.double().numpy()
    return [each.mean(0, keepdims=True), each] if len(each) > 1 else [each]


def opened(rewards: Sequence[Any], *, timeout: float) -> Scorers:
    """Open the rewards of an audit.

    Args:
        rewards: What `open_reward` takes, each.
        timeout: Seconds that one call of a server may take.

    Raises:
        InputError: There is none, or one cannot be opened.
    """
    if not rewards:
        raise InputError(
            "an audit needs a reward: a folder of assay fit, a sequence classifier, FILE.py:name, "
            "or the address of a server"
        )
    found = dict[str, TextReward]()
    for spec in rewards:
        reward = open_reward(spec, "rewards", timeout=timeout)
        name = _name(spec, reward)
        same = sum(k == name or k.startswith(f"{name} #") for k in found)
        found[f"{name} #{same + 1}" if same else name] = reward
    return Scorers.of(found)


def _name(spec: Any, reward: TextReward) -> str:
    """What tables call a reward."""
    if len(reward.names) == 1:
        return reward.names[0]
    given = str(spec)
    return given.removeprefix(PYTHON) if given.startswith(PYTHON) else Path(given).name
