"""Rewards that are whole transformers models, encoders or decoders, one a member.

A member is a folder that `save_pretrained` wrote: it loads in AutoModelForSequenceClassification
and gives the same scores.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Rng, Samples
from assay.data.turns import Turns
from assay.errors import InputError
from assay.models.backbones.in_step import uneven_passes
from assay.models.backbones.sharded import shard_classifier
from assay.models.text_encoder import TextEncoder
from assay.models.text_notes import unread_notes
from assay.rewards.encoding import Template, open_model, open_tokenizer
from assay.rewards.folder import files_in, read_reward, write_reward
from assay.rewards.lora import adapted, merged
from assay.rewards.packed_rows import shares_prompts
from assay.rewards.pool_tokens import cut_note, encoded
from assay.rewards.row_passes import batches, logits
from assay.rewards.row_tokens import Encoded
from assay.rewards.text_scorer import OnSamples

KIND = "whole models"
log = logging.getLogger("assay")


class Member(nn.Module):
    """One whole model in training, as `rewards.fit` wants it.

    Args:
        base: The base's folder or its name on the hub.
        tokenizer: Its tokenizer.
        template: How texts become tokens.
        rng: The address of the weights that the base lacks.
    """

    members = 1

    def __init__(self, base: str, tokenizer: Any, template: Template, rng: Rng):
        super().__init__()
        self.model: Any
        self.model, info = open_model(
            "AutoModelForSequenceClassification",
            base,
            num_labels=1,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        self.tokenizer, self.template = tokenizer, template
        other = (k[0] if isinstance(k, tuple) else k for k in info["mismatched_keys"])
        new = {*info["missing_keys"], *other}
        self.fresh = sorted(k for k in new if k in dict(self.model.named_parameters()))
        spread = getattr(self.model.config, "initializer_range", 0.02)
        with torch.no_grad():  # from this member's address, not from a global stream
            for i, name in enumerate(self.fresh):
                weight = self.model.get_parameter(name)
                draw = rng("head", i).normal(torch.arange(weight.numel())).view_as(weight)
                weight.copy_((spread if weight.dim() > 1 else 0.0) * draw)

    def forward(self, samples: Samples | list[Samples]) -> Float[Tensor, "1 B N"]:
        """Score encoded completions, differentiably."""
        x = samples[0] if isinstance(samples, list) else samples
        of = logits(self.model, _rows(x), self.tokenizer.pad_token_id, self.template)
        return of.view(1, *x.mask.shape[:2])

    def adapt(self, rank: int, rng: Rng) -> None:
        """Train adapters of this rank from now on, and whole the head and what the base lacked."""
        self.model = adapted(self.model, rank, self.fresh, rng)

    def freeze(self, names: tuple[str, ...]) -> ModelReward:
        """Return this member as a reward, its adapters merged."""
        self.model = merged(self.model)
        return ModelReward([self.model.requires_grad_(False)], self.tokenizer, self.template, names)


def _rows(x: Samples) -> list[Encoded]:
    """Turn Samples back into token sequences, completions in order."""
    out = []
    for b in range(len(x)):
        ask = x.prompts.tokens[b][x.prompts.mask[b]].tolist()
        for n in range(x.mask.shape[1]):
            completion = x.action[b, n][x.mask[b, n]].tolist()
            out.append(Encoded((*ask, *completion), len(ask), 0))
    return out


class TokenScorer(OnSamples):
    """A reward that scores tokens, on texts and on Samples.

    Attributes:
        tokenizer: Turns text into tokens.
        template: How prompt and completion are put together.
        scored_rows: The rows that were scored last.
    """

    kind = ""
    partial = False
    names: tuple[str, ...]
    tokenizer: Any
    template: Template
    scored_rows: Sequence[Encoded] = ()
    _said: frozenset[str] = frozenset()

    @functools.cached_property
    def encoder(self) -> TextEncoder:
        """Text to tokens."""
        return TextEncoder(self.tokenizer)

    def of_tokens(self, rows: Sequence[Encoded]) -> Float[Tensor, "M R"]:
        """Score tokens by every member."""
        raise NotImplementedError

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "M R"]:
        """See `TextReward.scores`; `columns` do not matter."""
        return self.scores_at(prompts, responses, turns)

    def scores_at(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        replies: Sequence[Turns | None] | None = None,
        places: Sequence[str] | None = None,
    ) -> Float[Tensor, "M R"]:
        """Score rows of a file, and warn the first time that a row is not scored as it is.

        Args:
            prompts: R prompts as text.
            responses: R completions as text.
            turns: The conversation of each prompt, or None where it is plain text.
            replies: The turns of each completion that is more than the assistant's plain text.
            places: What a message calls each row.
        """
        e, limit = self.encoder, self.template.max_length
        rows = encoded(e, self.template, prompts, responses, turns, replies, places)
        self.scored_rows = rows
        cut = cut_note(rows, limit)
        notes = {"cut": cut} if cut else {}
        for note in unread_notes(e.chat, template=self.template.form == "chat"):
            notes[note.partition(":")[0]] = note
        for kind, note in notes.items():
            if kind not in self._said:  # once a reward: a run scores thousands of times
                log.warning("assay: reward %s: %s", self.names[0], note)
        self._said |= notes.keys()
        return self.of_tokens(rows)


def check_template(tokenizer: Any, template: Template, where: Path | str) -> None:
    """Check that a base still has the chat template that a reward was fitted with.

    Args:
        tokenizer: The base's.
        template: How the reward's texts become tokens.
        where: The base, for the message.

    Raises:
        InputError: It has none.
    """
    if template.form == "chat" and not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"{where} has no chat template, and the reward was fitted with one; put back its "
            "chat_template.jinja or tokenizer_config.json, or fit the reward again"
        )


class ModelReward(TokenScorer):
    """M whole models as one Reward.

    Args:
        models: Sequence classifiers with one label.
        tokenizer: Their tokenizer.
        template: How texts become tokens.
        names: The members' names.
    """

    kind = KIND

    def __init__(
        self, models: Sequence[nn.Module], tokenizer: Any, template: Template, names: Sequence[str]
    ):
        self.models, self.tokenizer, self.template = list[Any](models), tokenizer, template
        self.names = tuple(names)

    @torch.no_grad()
    def of_tokens(self, rows: Sequence[Encoded]) -> Float[Tensor, "M R"]:
        """Return one logit a model and row."""
        out = torch.zeros(len(self.models), len(rows))
        shared = all(shares_prompts(model) for model in self.models)
        for m, model in enumerate(self.models):
            with uneven_passes(model, gather=True):
                for some in batches(rows, "scoring", together=shared):
                    part = [rows[i] for i in some]
                    got = logits(model, part, self.tokenizer.pad_token_id, self.template)
                    out[m, some] = got.float().to(out.device)
        return out

    def divide(self, *, gather: str, device: torch.device) -> ModelReward:
        """Divide every model over the processes, see `models.backbones.sharded`."""
        for model in self.models:
            shard_classifier(model, gather=gather, device=device)
        return self

    def to(self, device: torch.device) -> ModelReward:
        """Compute there; scores come back to the processor."""
        for model in self.models:
            model.to(device)
        return self

    def save(self, folder: Path | str) -> None:
        """Write a `save_pretrained` folder for each member, tokenizer included."""
        folder = Path(folder)
        for name, model in zip(self.names, self.models, strict=True):
            model.save_pretrained(folder / name)
            self.tokenizer.save_pretrained(folder / name)
        files = [f for name in self.names for f in files_in(folder, name)]
        more = {"template": self.template.plain()}
        write_reward(folder, KIND, self.names, {}, more, files=files)

    @classmethod
    def load(cls, folder: Path | str) -> ModelReward:
        """Read what `save` wrote.

        Raises:
            InputError: A file is missing, damaged or exchanged; the sentence names it.
        """

        def made(about: dict[str, Any], _: dict[str, Tensor]) -> ModelReward:
            names = [str(n) for n in about["names"]]
            models = [
                open_model("AutoModelForSequenceClassification", Path(folder) / n) for n in names
            ]
            frozen = [m.requires_grad_(False) for m in models]
            tokenizer, template = (
                open_tokenizer(first := Path(folder) / names[0]),
                about["template"],
            )
            check_template(tokenizer, Template(**template), first)
            return cls(frozen, tokenizer, Template(**template), names)

        return read_reward(folder, KIND, made)
