"""How `assay fit` fits a reward model: every field is a flag."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assay.errors import InputError

POOLING = ("mean", "cls", "last")
RESAMPLE = ("leave-out", "bootstrap", "none")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of `fit`.

    Attributes:
        base: "words" (no model), or a transformers model: a folder, or a name on the hub.
        members: Members of the ensemble.
        score: The column of scored responses; they are compared within prompts only.
        folds: Parts of the cross-validation by prompt; 0 for none; by default 5 (at most the
            prompts), and none for whole models and with held-out pairs.
        held_out_share: The share of prompts that evaluates the fit and that no member sees; by
            default 0.1 for whole models that have neither folds nor held-out pairs, else 0.
        columns: The file's column for each part, such as prompt=question.
        label_map: What the label column's values stand for, such as 1=first,0=second: first,
            second, tie, drop, or the probability that the first one is better; for scores numbers.
        split: The split of a dataset that has several.
        templated: Parts of the rows that a chat template wrote already, such as prompt: their
            special tokens are special tokens, and no template is applied.
        frozen: Fit a linear head on the base's frozen features.
        pooling: The features of a frozen base: mean (over the completion), cls or last (token).
        resample: How members differ: leave-out (each misses its own M-th of the prompts), bootstrap
            or none.
        ridge: The weight of ‖w‖² in a linear fit; 1 by default.
        smoothing: The share of labels taken as wrong, from 0 to 0.5.
        centre: The weight of (chosen + rejected)² in the Bradley–Terry loss.
        epochs: Passes over the pairs, of a whole model.
        batch_size: Pairs an update, of a whole model.
        learning_rate: Of a whole model.
        lora: The rank of LoRA adapters, merged at the end; 0 to train all weights.
        max_length: Tokens of prompt and completion together; longer ones are not fitted.
        pairs_a_prompt: Pairs that a whole model gets from a prompt's scored responses.
        limit: The longest row, in characters.
        drop: Leave faulty rows out and count them.
        lam: The weight of the variance in the uncertainty column of the out-of-fold file.
        seed: The seed of folds, resamples and training.
        trust_remote_code: Run Python code that comes with the base (auto_map) and kernels that its
            settings name.

    Example:
        >>> FitConfig(members=3).members
        3
    """

    base: str = "words"
    members: int = 5
    score: str | None = None
    folds: int | None = None
    held_out_share: float | None = None
    columns: Mapping[str, str] | None = None
    label_map: Mapping[str, str] | None = None
    split: str | None = None
    templated: tuple[str, ...] = ()
    frozen: bool = False
    pooling: str = "mean"
    resample: str = "leave-out"
    ridge: float | None = None
    smoothing: float = 0.0
    centre: float = 0.01
    epochs: float = 1.0
    batch_size: int = 16
    learning_rate: float = 2e-5
    lora: int = 0
    max_length: int = 1024
    pairs_a_prompt: int = 16
    limit: int | None = None
    drop: bool = False
    lam: float = 0.5
    seed: int = 0
    trust_remote_code: bool = False

    def check(self) -> None:
        """Check the settings before anything is read.

        Raises:
            InputError: A setting has a value that it cannot have.
        """
        words, folds, ridge = self.base == "words", self.folds, self.ridge
        share = self.held_out_share
        for wrong, sentence in (
            (self.members < 1, f"--members is {self.members}; give at least 1"),
            (
                folds is not None and (folds < 0 or folds == 1),
                f"--folds is {folds}; give at least 2, or 0 for none",
            ),
            (
                share is not None and not 0 <= share < 1,
                f"--held-out-share is {share}; give a number from 0 to below 1",
            ),
            (
                self.resample not in RESAMPLE,
                f"--resample is '{self.resample}'; give one of {', '.join(RESAMPLE)}",
            ),
            (
                self.pooling not in POOLING,
                f"--pooling is '{self.pooling}'; give one of {', '.join(POOLING)}",
            ),
            (
                ridge is not None and not _above(ridge),
                f"--ridge is {ridge}; give a number above 0",
            ),
            (
                not 0 <= self.smoothing <= 0.5,
                f"--smoothing is {self.smoothing}; it is the share of labels taken as wrong: give "
                "a number from 0 to 0.5",
            ),
            (
                self.centre != 0 and not _above(self.centre),
                f"--centre is {self.centre}; it is the weight of (chosen + rejected)²: give a "
                "number of at least 0",
            ),
            (not _above(self.epochs), f"--epochs is {self.epochs}; give a number above 0"),
            (self.batch_size < 1, f"--batch-size is {self.batch_size}; give at least 1"),
            (
                self.pairs_a_prompt < 1,
                f"--pairs-a-prompt is {self.pairs_a_prompt}; give at least 1",
            ),
            (
                self.lora < 0,
                f"--lora is {self.lora}; give a rank of at least 1, or 0 to train all weights",
            ),
            (
                words and self.frozen,
                "--frozen is for models, and --base words has nothing to freeze; leave it out",
            ),
            (
                words and self.lora > 0,
                "--lora is for models, and --base words has no layers to adapt; leave it out",
            ),
            (
                self.frozen and self.lora > 0,
                "--frozen trains nothing of the base and --lora adapts it: give one of the two",
            ),
        ):
            if wrong:
                raise InputError(sentence)

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return {
            **asdict(self),
            "columns": dict(self.columns or {}),
            "label_map": dict(self.label_map or {}),
        }


def _above(x: float) -> bool:
    return math.isfinite(x) and x > 0
