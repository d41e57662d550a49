"""Rewards that are whole transformers models, encoders or decoders, one a member.

Members are ordinary `save_pretrained` folders: each loads in AutoModelForSequenceClassification
with the same scores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from assay.core import Rng, Samples
from assay.errors import InputError
from assay.records import runs
from assay.rewards.encoding import (
    Encoded,
    Template,
    Turns,
    batched,
    encode,
    open_model,
    open_tokenizer,
)
from assay.rewards.linear_text import ABOUT
from assay.rewards.lora import adapted, merged

WHOLE = "whole models"
_TOKENS = 16384  # a scoring pass


def forward(
    model: nn.Module, rows: Sequence[Encoded], pad: int, *, segments: bool, **more: Any
) -> tuple[Any, Tensor]:
    """(the model's output, mask) for some rows, padded on the right, on the model's device."""
    ids, mask, kinds = batched(rows, pad, segments=segments)
    where = next(model.parameters()).device
    ids, mask = ids.to(where), mask.to(where)
    extra = {} if kinds is None else {"token_type_ids": kinds.to(where)}
    return model(input_ids=ids, attention_mask=mask.long(), **extra, **more), mask


def passes(rows: Sequence[Encoded]) -> list[list[int]]:
    """Rows in passes of like length, a bounded number of tokens each."""
    out: list[list[int]] = []
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i].ids)):
        if not out or (len(out[-1]) + 1) * len(rows[i].ids) > _TOKENS:
            out.append([])
        out[-1].append(i)
    return out


class Member(nn.Module):
    """One whole model in the making, as `rewards.fitting.fitted` wants it: `model(samples) →
    [1,B,N]`, then `freeze`.
    """

    members = 1

    def __init__(self, base: str, tokenizer: Any, template: Template, rng: Rng):
        super().__init__()
        self.model: Any
        found = open_model(
            "AutoModelForSequenceClassification",
            base,
            num_labels=1,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        self.model, info = found
        self.tokenizer, self.template = tokenizer, template
        new = {
            *info["missing_keys"],
            *(k[0] if isinstance(k, tuple) else k for k in info["mismatched_keys"]),
        }
        self.fresh = sorted(k for k in new if k in dict(self.model.named_parameters()))
        with (
            torch.no_grad()
        ):  # what the base lacks is drawn from this member's address, not from a global stream
            for i, name in enumerate(self.fresh):
                weight = self.model.get_parameter(name)
                draw = rng("head", i).normal(torch.arange(weight.numel())).view_as(weight)
                scale = (
                    getattr(self.model.config, "initializer_range", 0.02)
                    if weight.dim() > 1
                    else 0.0
                )
                weight.copy_(scale * draw)

    def forward(self, samples: Samples | list[Samples]) -> Float[Tensor, "1 B N"]:
        """Scores of encoded answers, differentiable."""
        x = samples[0] if isinstance(samples, list) else samples
        rows = _rows(x)
        out, _ = forward(
            self.model, rows, self.tokenizer.pad_token_id, segments=self.template.segments
        )
        return out.logits[:, 0].view(1, *x.mask.shape[:2])

    def adapt(self, rank: int, rng: Rng) -> None:
        """From now on the base is trained by adapters of this rank; its head, and what else it
        lacked, whole.
        """
        self.model = adapted(self.model, rank, self.fresh, rng)

    def freeze(self, names: tuple[str, ...]) -> ModelReward:
        """This member as a reward of one judge, adapters merged."""
        self.model = merged(self.model)
        return ModelReward([self.model.requires_grad_(False)], self.tokenizer, self.template, names)


def _rows(x: Samples) -> list[Encoded]:
    """Samples back to token sequences, answers in order."""
    out = []
    for b in range(len(x)):
        ask = x.prompts.tokens[b][x.prompts.mask[b]].tolist()
        out += [
            Encoded((*ask, *x.action[b, n][x.mask[b, n]].tolist()), len(ask), 0)
            for n in range(x.mask.shape[1])
        ]
    return out


class TextScorer:
    """What both kinds share: text in, scores out; and Samples by way of their text."""

    kind = ""
    partial = False
    names: tuple[str, ...]
    tokenizer: Any
    template: Template
    truncated = 0  # rows of the last call that were cut to fit

    def encoded(
        self, prompts: Sequence[str], responses: Sequence[str], turns: Sequence[Turns | None]
    ) -> Float[Tensor, "M R"]:
        """Scores of every member."""
        each = [
            encode(self.tokenizer, self.template, *row)
            for row in zip(prompts, responses, turns, strict=True)
        ]
        self.truncated = sum(e.cut > 0 for e in each)
        return self.of_tokens(each)

    def of_tokens(self, rows: Sequence[Encoded]) -> Float[Tensor, "M R"]:
        """Scores of tokens."""
        raise NotImplementedError

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
    ) -> Float[Tensor, "M R"]:
        """Every member's score of every (prompt, response); a row's does not depend on the others."""
        return self.encoded(prompts, responses, turns or [None] * len(prompts))

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        """Scores of answers, by their text; an absent one scores 0."""
        asks, texts = samples.prompts.text(), samples.text()
        B, N = samples.mask.shape[:2]
        flat = self.scores(
            [a for a in asks for _ in range(N)], [t for row in texts for t in row]
        ).view(-1, B, N)
        return torch.where(samples.present, flat.to(samples.logp), samples.logp.new_zeros(()))


class ModelReward(TextScorer):
    """M whole models as one Reward."""

    kind = WHOLE

    def __init__(
        self, models: Sequence[nn.Module], tokenizer: Any, template: Template, names: Sequence[str]
    ):
        self.models, self.tokenizer, self.template, self.names = (
            list[Any](models),
            tokenizer,
            template,
            tuple(names),
        )

    @torch.no_grad()
    def of_tokens(self, rows: Sequence[Encoded]) -> Float[Tensor, "M R"]:
        """One logit a model and row."""
        out = torch.zeros(len(self.models), len(rows))
        for some in tqdm(passes(rows), desc="scoring", disable=None, delay=2, leave=False):
            for m, model in enumerate(self.models):
                got, _ = forward(
                    model,
                    [rows[i] for i in some],
                    self.tokenizer.pad_token_id,
                    segments=self.template.segments,
                )
                out[m, some] = got.logits[:, 0].float().to(out.device)
        return out

    def to(self, device: torch.device) -> ModelReward:
        """The same judges, computing there; scores come back to the processor."""
        for model in self.models:
            model.to(device)
        return self

    def save(self, folder: Path | str) -> None:
        """One `save_pretrained` folder a member, tokenizer included; then reward.json with their
        digests.
        """
        folder = Path(folder)
        for name, model in zip(self.names, self.models, strict=True):
            model.save_pretrained(folder / name)  # type: ignore[operator]
            self.tokenizer.save_pretrained(folder / name)
        digests = {name: runs.digest(folder / name / "model.safetensors") for name in self.names}
        about = {
            "kind": WHOLE,
            "names": list(self.names),
            "partial": False,
            "template": self.template.plain(),
            "weights": digests,
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> ModelReward:
        """What `save` wrote. Raises InputError where it is missing, damaged or exchanged."""
        folder = Path(folder)
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            names = [str(n) for n in about["names"]]
            for name in names:
                if runs.digest(folder / name / "model.safetensors") != about["weights"][name]:
                    raise InputError(
                        f"{folder / name / 'model.safetensors'} is not the file that {ABOUT} was "
                        "written for; fit again"
                    )
            template = Template(**about["template"])
        except (OSError, ValueError, KeyError, TypeError) as why:
            if isinstance(why, InputError):
                raise
            raise InputError(
                f"{folder} holds no readable reward ({type(why).__name__}: {str(why)[:80]}); fit "
                "it again"
            ) from why
        models = [
            open_model("AutoModelForSequenceClassification", folder / name).requires_grad_(False)
            for name in names
        ]
        return cls(models, open_tokenizer(folder / names[0]), template, names)
