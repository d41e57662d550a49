"""Rewards that are linear heads on the frozen features of any transformers encoder or decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.errors import InputError
from assay.models.weights_read import all_tokens, check_finite, whole_base
from assay.rewards.encoder import TokenScorer, check_template
from assay.rewards.encoding import Template, open_model, open_tokenizer, template_for
from assay.rewards.folder import WEIGHTS, files_in, read_reward, write_reward
from assay.rewards.row_passes import batches, forward
from assay.rewards.row_tokens import Encoded

KIND = "frozen features"
BASE = "base"  # the folder of a base that a reward holds itself


class Embedder:
    """A frozen base that turns each row of tokens into one vector.

    Args:
        base: The base's folder or its name on the hub.
        pooling: "mean" (over the completion's tokens), "cls" (the first token) or "last".
        max_length: The longest row in tokens, where no template is given.
        template: How texts become tokens.
        keep: Whether a reward saves the base with its heads, because it can be found nowhere else.
    """

    def __init__(
        self,
        base: str,
        pooling: str,
        max_length: int = 1024,
        template: Template | None = None,
        *,
        keep: bool = False,
    ):
        self.base, self.pooling, self.keep = base, pooling, keep
        self.tokenizer = open_tokenizer(base)
        found, info = open_model(
            "AutoModel", base, output_loading_info=True, ignore_mismatched_sizes=True
        )
        whole_base(found, info, base)
        check_finite(found, f"'{base}' should be a base")
        all_tokens(found, self.tokenizer, base)
        self.model = found.requires_grad_(False)
        config = self.model.config
        self.template = template or template_for(self.tokenizer, config, max_length)
        check_template(self.tokenizer, self.template, base)

    @torch.no_grad()
    def __call__(self, rows: Sequence[Encoded]) -> Float[Tensor, "R H"]:
        """Return features in float32; padding is masked, so its token does not matter."""
        out: Tensor | None = None
        pad, segments = self.tokenizer.pad_token_id or 0, self.template.segments
        for some in batches(rows, "embedding texts"):
            part = [rows[i] for i in some]
            got, mask = forward(self.model, part, pad, segments=segments)
            hidden = got.last_hidden_state.float()
            start = torch.tensor([r.start for r in part], device=hidden.device)
            pooled = self._pooled(hidden, mask, start).to("cpu")
            out = pooled.new_zeros(len(rows), hidden.shape[-1]) if out is None else out
            out[some] = pooled
        return torch.zeros(0, 1) if out is None else out

    def _pooled(self, hidden: Tensor, mask: Tensor, start: Tensor) -> Tensor:
        place = torch.arange(hidden.shape[1], device=hidden.device)
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
        own = mask & (place >= start[:, None])
        own = torch.where(own.any(1, keepdim=True), own, mask)  # an empty completion: the prompt's
        return torch.where(own[..., None], hidden, 0.0).sum(1) / own.sum(1, keepdim=True)


class FrozenReward(TokenScorer):
    """M linear heads on one frozen base.

    The folder names the base and holds a digest of its weights. It copies the base only where that
    was a model in memory.

    Args:
        embedder: The base.
        middle: The mean of each feature.
        spread: The standard deviation of each feature.
        weight: The heads.
        offset: The heads' constants.
        names: The members' names; judge0, judge1, … where none are given.
    """

    kind = KIND

    def __init__(
        self,
        embedder: Embedder,
        middle: Float[Tensor, "H"],
        spread: Float[Tensor, "H"],
        weight: Float[Tensor, "H M"],
        offset: Float[Tensor, "M"],
        names: Sequence[str] = (),
    ):
        self.embedder, self.middle, self.spread = embedder, middle, spread
        self.weight, self.offset = weight, offset
        self.tokenizer, self.template = embedder.tokenizer, embedder.template
        self.names = tuple(names) or tuple(f"judge{m}" for m in range(weight.shape[1]))

    def of_tokens(self, rows: Sequence[Encoded]) -> Float[Tensor, "M R"]:
        """Apply the heads to the rows' features."""
        return self.of_features(self.embedder(rows)) if rows else torch.zeros(len(self.names), 0)

    def of_features(self, features: Float[Tensor, "R H"]) -> Float[Tensor, "M R"]:
        """Apply the heads to features that are computed already."""
        return (standardised(features, self.middle, self.spread) @ self.weight + self.offset).T

    def to(self, device: torch.device) -> FrozenReward:
        """Compute the base there; features and heads stay with the processor."""
        self.embedder.model.to(device)
        return self

    def save(self, folder: Path | str) -> None:
        """Write the heads, and the base's name and digest, or the base itself."""
        e = self.embedder
        if e.keep:
            e.model.save_pretrained(Path(folder) / BASE)
            e.tokenizer.save_pretrained(Path(folder) / BASE)
        tensors = {k: getattr(self, k) for k in ("weight", "offset", "middle", "spread")}
        more = {
            "base": BASE if e.keep else e.base,
            "base_inside": e.keep,
            "base_digest": parameters_digest(e.model),
            "pooling": e.pooling,
            "template": e.template.plain(),
        }
        files = (WEIGHTS, *(files_in(Path(folder), BASE) if e.keep else ()))
        write_reward(folder, KIND, self.names, tensors, more, files=files)

    @classmethod
    def load(cls, folder: Path | str) -> FrozenReward:
        """Read what `save` wrote, and open its base again.

        Raises:
            InputError: A file is missing, damaged or exchanged, or the base has other weights now.
        """

        def made(about: dict[str, Any], t: dict[str, Tensor]) -> FrozenReward:
            inside, template = about.get("base_inside", False), Template(**about["template"])
            base = str(Path(folder) / BASE) if inside else about["base"]
            embedder = Embedder(base, about["pooling"], template=template, keep=inside)
            if parameters_digest(embedder.model) != about["base_digest"]:
                raise InputError(
                    f"{base} has other weights than when {folder} was fitted on it; give the same "
                    "base, or fit again"
                )
            names = about["names"]
            return cls(embedder, t["middle"], t["spread"], t["weight"], t["offset"], names)

        return read_reward(folder, KIND, made)


def standardised(
    features: Float[Tensor, "R H"], middle: Tensor, spread: Tensor
) -> Float[Tensor, "R H"]:
    """Return (x − middle)/spread/√H: rows of length about 1, so that one ridge fits every width.

    Args:
        features: R rows of width H.
        middle: What is taken off each feature, `[H]`.
        spread: What each feature is divided by, `[H]`.
    """
    return (features - middle) / spread / features.shape[1] ** 0.5


def parameters_digest(model: nn.Module) -> str:
    """Return SHA-256 over a model's parameters by name."""
    sha = hashlib.sha256()
    for name, p in sorted(model.named_parameters()):
        sha.update(name.encode() + p.detach().to("cpu").contiguous().numpy().tobytes())
    return sha.hexdigest()
