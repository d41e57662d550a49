"""A reward as a value: score, evaluate, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assay import data
from assay.data.given import given_texts
from assay.engine.os_errors import writing_to
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.rewards.evaluate import evaluate_on, finite
from assay.rewards.evaluation import Evaluation
from assay.rewards.fitted import write_about
from assay.rewards.loaded_back import save_reward


class RewardEnsemble:
    """A reward of one or several members, ready to score, evaluate and save.

    `fit_reward` and `load_reward` make one. It goes wherever assay takes a reward, alone or in a
    list with functions and names of models.

    Attributes:
        reward: What computes the scores.
        evaluation: How the fit did on prompts it never saw; None where it was not measured.
        about: What is known of the fit, as `fit.json` has it; empty for other rewards.

    Example:
        >>> from assay.api.rewards import load_reward
        >>> rm = load_reward(lambda prompts, completions: [len(c) for c in completions])
        >>> rm.score(["Say hi.", "Say hi."], ["Hi!", "Hello!"]).tolist()
        [[3.0, 6.0]]
    """

    def __init__(
        self,
        reward: Any,
        *,
        evaluation: Evaluation | None = None,
        about: Mapping[str, Any] | None = None,
    ):
        self.reward, self.evaluation, self.about = reward, evaluation, dict(about or {})

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(self.reward.names)

    @property
    def kind(self) -> str:
        """What computes the scores, for example "linear text" or "whole models"."""
        return str(self.reward.kind)

    @property
    def partial(self) -> bool:
        """Whether a NaN among the scores means that the reward does not apply."""
        return bool(self.reward.partial)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        base = self.about.get("base") or ", ".join(self.names)
        return f"RewardEnsemble(kind={self.kind!r}, members={len(self)}, base={base!r})"

    def score(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Sequence[Any]
    ) -> NDArray[np.float64]:
        """Score completions by every member.

        Args:
            prompts: n texts, or conversations as lists of messages.
            completions: One completion a prompt: a text, or a list of messages.
            **columns: Further values, one a completion, for functions that read them.

        Returns:
            Scores, `[members, n]`; NaN where a function returned None.

        Raises:
            InputError: There are not as many completions as prompts, or an entry is neither text
                nor messages.
            NotFinite: A score is not finite.

        Example:
            >>> from assay.api.rewards import load_reward
            >>> rm = load_reward(lambda prompts, completions: [len(c) for c in completions])
            >>> rm.score(["Is 2 even?"], ["yes"])
            array([[3.]])
        """
        asks, said, turns = given_texts(prompts, completions)
        for name, values in columns.items():
            if len(values) != len(asks):
                raise InputError(
                    f"there are {len(asks):,} prompts and {len(values):,} values of {name}; give "
                    "one for each prompt"
                )
        with quiet_libraries():
            found = self.reward.scores(asks, said, turns, columns)
        scores: NDArray[np.float64] = finite(self.reward, found).double().numpy()
        return scores

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Any] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "M R"]:
        """Score texts for assay itself; see `score` for your own use."""
        found: Float[Tensor, "M R"] = self.reward.scores(prompts, responses, turns, columns)
        return found

    def to(self, device: torch.device) -> RewardEnsemble:
        """Compute on a device; what you gave as a live model stays where it is."""
        self.reward.to(device)
        return self

    def evaluate(
        self,
        pairs: Any,
        *,
        columns: Mapping[str, str] | None = None,
        label_map: Mapping[Any, Any] | None = None,
        split: str | None = None,
        score: str | None = None,
        limit: int | None = None,
        drop: bool = False,
        templated: Sequence[str] = (),
    ) -> Evaluation:
        """Measure how well the reward tells chosen from rejected completions.

        Args:
            pairs: As for `fit_reward`; a reward that was fitted should not have seen them.
            columns: The file's column for each part, such as {"prompt": "question"}.
            label_map: What the label column's values stand for, as for `fit_reward`.
            split: The split of a dataset that has several.
            score: The column of scored responses; they are compared within prompts only.
            limit: The longest row, in characters.
            drop: Leave faulty rows out and count them.
            templated: Parts of the rows that a chat template wrote already, such as ["prompt"].

        Returns:
            Accuracy with its interval, calibration, accuracy by length and by margin, and how far
            the members differ. It prints as a table.

        Raises:
            InputError: A row cannot be used, or no pair can be compared.

        Example:
            >>> from assay.api.rewards import load_reward
            >>> rm = load_reward(lambda prompts, completions: [len(c) for c in completions])
            >>> rows = [{"prompt": "Say hi.", "chosen": "Hello!", "rejected": "Hi!"}] * 3
            >>> rm.evaluate(rows).accuracy.mean
            1.0
        """
        source = source_of(pairs, split, "pairs")
        given: dict[str, Any] = {
            "columns": columns,
            "label_map": label_map,
            "split": split,
            "score": score,
            "limit": limit,
            "drop": drop,
            "templated": templated,
        }
        with quiet_libraries():
            return evaluate_on(self.reward, source, **given)

    def save(self, folder: str | Path) -> None:
        """Write the reward to a folder that `load_reward` and every command of assay read.

        Args:
            folder: A folder that is empty or does not exist.

        Raises:
            InputError: The folder is not empty, a function or a server cannot be saved, or the
                folder gives other scores than the reward in memory.
        """
        if Path(folder).exists() and (not Path(folder).is_dir() or any(Path(folder).iterdir())):
            raise InputError(f"{folder} is not an empty folder, and is never overwritten")
        if not hasattr(self.reward, "save"):
            raise InputError(
                f"a reward of kind '{self.kind}' has no weights to save; keep its code or its "
                "address"
            )
        with quiet_libraries(), writing_to(Path(folder)):
            known = "arguments" in self.about
            more = (lambda to: write_about(self.about, to)) if known else (lambda to: None)
            save_reward(self.reward, folder, more=more)


def source_of(labels: Any, split: str | None, name: str) -> str | Path | data.Source:
    """Return a file's name as it is, and rows in memory as a source.

    Args:
        labels: A file, a hub name, or rows in memory.
        split: The split of a dataset that has several.
        name: What messages call rows in memory.
    """
    if isinstance(labels, (str, Path, data.Source)):
        return labels
    return data.in_memory(labels, name, split=split)
