"""Rewards that are linear heads on the frozen features of any transformers encoder or decoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from assay.errors import InputError
from assay.records import runs
from assay.rewards.encoder import TextScorer, forward, passes
from assay.rewards.encoding import Encoded, Template, open_model, open_tokenizer, template_for
from assay.rewards.linear_text import ABOUT, WEIGHTS

FROZEN = "frozen features"
POOLING = ("mean", "cls", "last")


class Embedder:
    """A frozen base that turns tokens into one vector a row: the mean over the answer's tokens, the
    first or the last token.
    """

    def __init__(
        self,
        base: str,
        pooling: str,
        max_length: int | None = None,
        template: Template | None = None,
    ):
        if pooling not in POOLING:
            raise InputError(f"--pooling is '{pooling}'; it is one of {', '.join(POOLING)}")
        self.base, self.pooling = base, pooling
        self.tokenizer = open_tokenizer(base)
        self.model = open_model("AutoModel", base).requires_grad_(False)
        self.template = template or template_for(
            self.tokenizer, self.model.config, max_length or 1024
        )

    @torch.no_grad()
    def __call__(self, rows: Sequence[Encoded]) -> Float[Tensor, "R H"]:
        """Features in float32; padding is masked, so its token does not matter."""
        out: Tensor | None = None
        for some in tqdm(passes(rows), desc="embedding texts", disable=None, delay=2, leave=False):
            part = [rows[i] for i in some]
            got, mask = forward(
                self.model, part, self.tokenizer.pad_token_id or 0, segments=self.template.segments
            )
            hidden = got.last_hidden_state.float()
            pooled = self._pooled(
                hidden, mask, torch.tensor([r.answer for r in part], device=hidden.device)
            ).to("cpu")
            out = pooled.new_zeros(len(rows), hidden.shape[-1]) if out is None else out
            out[some] = pooled
        return torch.zeros(0, 1) if out is None else out

    def _pooled(self, hidden: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
        place = torch.arange(hidden.shape[1], device=hidden.device)
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
        own = mask & (place >= answer[:, None])
        own = torch.where(
            own.any(1, keepdim=True), own, mask
        )  # an answer without tokens: the prompt's
        return torch.where(own[..., None], hidden, 0.0).sum(1) / own.sum(1, keepdim=True)


class FrozenReward(TextScorer):
    """M linear heads on one frozen base. The base is named, with a digest of its weights, and not
    copied.
    """

    kind = FROZEN

    def __init__(
        self,
        embedder: Embedder,
        middle: Tensor,
        spread: Tensor,
        weight: Float[Tensor, "H M"],
        offset: Float[Tensor, "M"],
        names: Sequence[str] = (),
    ):
        self.embedder, self.middle, self.spread, self.weight, self.offset = (
            embedder,
            middle,
            spread,
            weight,
            offset,
        )
        self.tokenizer, self.template = embedder.tokenizer, embedder.template
        self.names = tuple(names) or tuple(f"judge{m}" for m in range(weight.shape[1]))

    def of_tokens(self, rows: Sequence[Encoded]) -> Float[Tensor, "M R"]:
        """Heads on the rows' features."""
        return self.of_features(self.embedder(rows)) if rows else torch.zeros(len(self.names), 0)

    def of_features(self, features: Float[Tensor, "R H"]) -> Float[Tensor, "M R"]:
        """Heads on features already made."""
        return (standardised(features, self.middle, self.spread) @ self.weight + self.offset).T

    def to(self, device: torch.device) -> FrozenReward:
        """The same judges, the base computing there; features and heads stay with the processor."""
        self.embedder.model.to(device)
        return self

    def save(self, folder: Path | str) -> None:
        """weights.safetensors, then reward.json with the base's name and digest."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "weight": self.weight,
            "offset": self.offset,
            "middle": self.middle,
            "spread": self.spread,
        }
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(folder / WEIGHTS))
        e = self.embedder
        about = {
            "kind": FROZEN,
            "names": list(self.names),
            "partial": False,
            "base": e.base,
            "base_digest": parameters_digest(e.model),
            "pooling": e.pooling,
            "template": e.template.plain(),
            WEIGHTS: runs.digest(folder / WEIGHTS),
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> FrozenReward:
        """What `save` wrote, with its base opened again; raises InputError if the base has other
        weights now.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            if runs.digest(folder / WEIGHTS) != about[WEIGHTS]:
                raise InputError(
                    f"{folder / WEIGHTS} is not the file that {ABOUT} was written for; fit again"
                )
            t = load_file(str(folder / WEIGHTS))
            base, pooling, template, digest = (
                about["base"],
                about["pooling"],
                Template(**about["template"]),
                about["base_digest"],
            )
            names = about["names"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as why:
            if isinstance(why, InputError):
                raise
            raise InputError(
                f"{folder} holds no readable reward ({type(why).__name__}: {str(why)[:80]}); fit "
                "it again"
            ) from why
        embedder = Embedder(base, pooling, template=template)
        if parameters_digest(embedder.model) != digest:
            raise InputError(
                f"{base} has other weights than when {folder} was fitted on it; give the same "
                "base, or fit again"
            )
        return cls(embedder, t["middle"], t["spread"], t["weight"], t["offset"], names)


def standardised(
    features: Float[Tensor, "R H"], middle: Tensor, spread: Tensor
) -> Float[Tensor, "R H"]:
    """(x − middle)/spread/√H: rows of length about 1, so that one ridge fits bases of every width."""
    return (features - middle) / spread / features.shape[1] ** 0.5


def parameters_digest(model: nn.Module) -> str:
    """SHA-256 over a model's parameters by name."""
    sha = hashlib.sha256()
    for name, p in sorted(model.named_parameters()):
        sha.update(name.encode() + p.detach().to("cpu").contiguous().numpy().tobytes())
    return sha.hexdigest()
