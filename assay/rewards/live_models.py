"""Models that a user has in memory: read, copied and scored by, and left as they were."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.errors import InputError
from assay.models.backbones.adapter_merge import merged_copy
from assay.rewards.encoder import ModelReward
from assay.rewards.encoding import template_for
from assay.rewards.row_tokens import Encoded


def is_model(value: Any) -> bool:
    """Whether this is a model of transformers or peft: a module with a configuration."""
    return isinstance(value, nn.Module) and hasattr(value, "config")


def name_of(model: Any) -> str:
    """Return what messages and records call a model in memory.

    Args:
        model: A model of transformers or peft.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = getattr(inner.config, "_name_or_path", "")
    return f"{type(inner).__name__} in memory" + (f" (from {known})" if known else "")


def write_copy(model: Any, tokenizer: Any, folder: str | Path) -> None:
    """Write a model and its tokenizer to a folder, adapters merged.

    Args:
        model: A model of transformers or peft; neither it nor its configuration changes.
        tokenizer: Its tokenizer.
        folder: The folder to write.

    Raises:
        InputError: There is no tokenizer.
    """
    if tokenizer is None:
        raise InputError(
            f"{name_of(model)} was given without its tokenizer; give it with tokenizer="
        )
    if hasattr(model, "merge_and_unload"):  # peft would write its adapters alone
        model = merged_copy(model)
    with _own_configuration(model):  # transformers writes into the one it saves
        model.save_pretrained(folder)
    copy.deepcopy(tokenizer).save_pretrained(folder)


@contextmanager
def _own_configuration(model: Any) -> Iterator[None]:
    """Give the model copies of its configurations for a while."""
    names = [n for n in ("config", "generation_config") if getattr(model, n, None) is not None]
    before = {n: getattr(model, n) for n in names}
    try:
        for n, value in before.items():
            setattr(model, n, copy.deepcopy(value))
        yield
    finally:
        for n, value in before.items():
            setattr(model, n, value)


class LiveReward(ModelReward):
    """A user's own sequence classifier as a reward: evaluated without dropout, and left as it was.

    Args:
        model: A sequence classifier with one label.
        tokenizer: Its tokenizer.
        name: The member's name.
    """

    kind = "live model"

    def __init__(self, model: Any, tokenizer: Any, name: str):
        tokenizer = copy.deepcopy(tokenizer)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        super().__init__([model], tokenizer, template_for(tokenizer, model.config, 1 << 20), [name])

    def of_tokens(self, rows: Sequence[Encoded]) -> Float[Tensor, "1 R"]:
        """Return one logit a row."""
        with self._scoring():
            return super().of_tokens(rows)

    def to(self, device: torch.device) -> LiveReward:
        """Return itself: the model stays where its user put it."""
        return self

    def save(self, folder: Path | str) -> None:
        """Write the folder that `load_reward` reads, adapters merged."""
        model = self.models[0]
        if hasattr(model, "merge_and_unload"):
            plain = merged_copy(model)
            ModelReward([plain], self.tokenizer, self.template, self.names).save(folder)
            return
        with self._scoring(), _own_configuration(model):
            super().save(folder)

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """Switch dropout off, and name the padding token that the head looks for."""
        model = self.models[0]
        modes = [(m, m.training) for m in model.modules()]
        config = model.config.get_text_config()
        pad = config.pad_token_id
        try:
            model.eval()
            if pad is None:
                config.pad_token_id = self.tokenizer.pad_token_id
            yield
        finally:
            config.pad_token_id = pad
            for module, training in modes:
                module.training = training


def live_reward(model: Any, tokenizer: Any) -> LiveReward:
    """Make a user's own sequence classifier a reward.

    Args:
        model: A sequence classifier with one label.
        tokenizer: Its tokenizer.

    Returns:
        The reward; it computes where the model is.

    Raises:
        InputError: There is no tokenizer, or the model is no classifier of one label.
    """
    name = name_of(model)
    if tokenizer is None:
        raise InputError(f"{name} was given without its tokenizer; give it with tokenizer=")
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if "SequenceClassification" not in type(inner).__name__ or model.config.num_labels != 1:
        raise InputError(
            f"{name} is no reward: give a sequence classifier with num_labels = 1, or fit one on "
            "it with fit_reward"
        )
    return LiveReward(model, tokenizer, type(inner).__name__)
