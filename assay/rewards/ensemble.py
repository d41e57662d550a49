"""M small Llamas that score completions, fitted and run as one batched model.

A member's score is read at the completion's last token.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.core import Rng, Samples
from assay.engine.threads import together
from assay.errors import InputError
from assay.models.backbones.attention import Config, backbone, layers, rope
from assay.models.backbones.llama import Stack
from assay.models.backbones.shared_prompts import Shared
from assay.rewards.folder import read_reward, write_reward

KIND = "llama ensemble"
_ANSWERS = 256  # a scoring pass: what the caches hold


@dataclass(frozen=True)
class Packed:
    """What all members share of some completions: their tokens and the plan of attention.

    Attributes:
        tokens: The tokens kept, prompts first; the last rows are padding.
        plan: The plan of attention, in which a prompt is computed once for its completions.
        shape: (rows, completions a row).
    """

    tokens: Int[Tensor, "n"]
    plan: Shared
    shape: tuple[int, int]

    @classmethod
    def of(cls, samples: Samples, config: Config, dtype: torch.dtype) -> Packed:
        """Pack completions.

        Args:
            samples: B prompts with N completions each.
            config: The members' own, for the size of their vocabulary.
            dtype: Of the attention's scores.

        Raises:
            InputError: A token is not in the vocabulary.
        """
        keep, ask = samples.mask | samples.given, samples.prompts
        T = (
            int(
                (keep.any(0).any(0) * torch.arange(1, keep.shape[2] + 1, device=keep.device)).amax()
            )
            if keep.numel()
            else 0
        )
        plan = Shared(ask.mask, keep[..., :T], dtype)
        tokens = plan.packed(ask.tokens, samples.action[..., :T])
        if tokens.numel() and int(tokens.max()) >= config.vocabulary:
            raise InputError(
                f"token {int(tokens.max())} is not in these reward models' vocabulary of "
                f"{config.vocabulary}: they were fitted on completions of another tokenizer"
            )
        return cls(tokens, plan, (keep.shape[0], keep.shape[1]))


class Members(nn.Module):
    """M members in training, weights stacked `[M,…]`.

    Members are computed one by one, as many at a time as there are threads: their matrices fit into
    the cache, and a stacked product would gain nothing.

    Args:
        config: The shape of one member.
        members: The number of members M.
        rng: Member m's first weights come from `rng("member", m)` alone.
        weights: Weights to start from, in place of drawn ones.
    """

    def __init__(
        self, config: Config, members: int, rng: Rng, *, weights: Mapping[str, Tensor] | None = None
    ):
        super().__init__()
        self.config, self.members = config, members
        self.backbone = Stack(config, members, rng)
        head = [rng("member", m)("head").normal(torch.arange(config.width)) for m in range(members)]
        self.head = nn.Parameter(torch.stack(head) / math.sqrt(config.width))
        if weights is not None:
            self.to(weights["head"].dtype).load_state_dict(dict(weights))

    def weights(self) -> dict[str, Tensor]:
        """Return every weight by name, detached."""
        return {k: v.detach() for k, v in self.named_parameters()}

    def forward(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N"]:
        """Score completions by every member: one Samples for all, or a list with each one's own."""
        return torch.stack(
            [h.mv(self.head[m]).view(x.shape) for m, (h, x) in enumerate(self._read(samples))]
        )

    def one(self, weights: Mapping[str, Tensor], samples: Samples) -> Float[Tensor, "B N"]:
        """Score completions by one member: `weights` are `[…]` of this model's `[M,…]`, by name."""
        x = Packed.of(samples, self.config, self.head.dtype)
        backbone = {name.removeprefix("backbone."): w for name, w in weights.items()}
        return self._hidden(backbone, x).mv(weights["head"]).view(x.shape)

    def hidden(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "M B N W"]:
        """Return what heads read: hidden states of last tokens (the prompt's, if it is empty)."""
        return torch.stack([h.view(*x.shape, -1) for h, x in self._read(samples)])

    def heads(self) -> Float[Tensor, "M W"]:
        """Return the members' heads: score = hidden · head."""
        return self.head

    def _read(
        self, samples: Samples | Sequence[Samples]
    ) -> list[tuple[Float[Tensor, "R W"], Packed]]:
        """Return each member's hidden states of the last tokens, and the completions."""
        if isinstance(samples, Samples):
            each = [Packed.of(samples, self.config, self.head.dtype)] * self.members
        elif len(samples) == self.members:
            each = [Packed.of(x, self.config, self.head.dtype) for x in samples]
        else:
            raise InputError(
                f"{len(samples)} batches for {self.members} members: give one for all, or one for "
                "each"
            )
        weights = {name: w.unbind(0) for name, w in self.backbone.weights().items()}
        tasks = [
            functools.partial(self._hidden, {k: v[m] for k, v in weights.items()}, x)
            for m, x in enumerate(each)
        ]
        alone = torch.is_grad_enabled() or self.head.device.type != "cpu"
        return list(
            zip([task() for task in tasks] if alone else together(tasks), each, strict=True)
        )

    def _hidden(self, w: Mapping[str, Tensor], x: Packed) -> Float[Tensor, "R W"]:
        turn = rope(x.plan.places, self.config, self.head.dtype)
        embedded = nn.functional.embedding(x.tokens, w["model.embed_tokens.weight"])
        hidden = backbone(
            embedded, layers(w, self.config), w["model.norm.weight"], self.config, turn, x.plan
        )
        return hidden.index_select(0, x.plan.before[..., -1].flatten())

    def freeze(self, names: Sequence[str]) -> Ensemble:
        """Return the members as they are now, in storage of their own."""
        return Ensemble(self.config, self.weights(), names)


class Ensemble:
    """M frozen members as one Reward; a score is (raw − centre)/scale.

    Args:
        config: The shape of one member.
        weights: The members' weights, stacked.
        names: The members' names.
        centre: What is taken off each member's score; 0 by default.
        scale: What each member's score is divided by; 1 by default.
    """

    partial = False

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, Tensor],
        names: Sequence[str],
        *,
        centre: Float[Tensor, "M"] | None = None,
        scale: Float[Tensor, "M"] | None = None,
    ):
        self.names = tuple(names)
        self.model = Members(config, len(self.names), Rng(0), weights=weights).requires_grad_(False)
        self.centre = self.model.head.new_zeros(len(self.names)) if centre is None else centre
        self.scale = self.model.head.new_ones(len(self.names)) if scale is None else scale

    @torch.no_grad()
    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        """Score completions by every member, in bounded passes; an absent one scores 0."""
        raw = self._raw(samples)
        scores = ((raw - self.centre[:, None, None]) / self.scale[:, None, None]).to(
            samples.logp.device
        )
        return torch.where(samples.present, scores, scores.new_zeros(()))

    def only(self, members: Sequence[int]) -> Ensemble:
        """Select members."""
        m = list(members)
        weights = {name: w[m] for name, w in self.model.weights().items()}
        return Ensemble(
            self.model.config,
            weights,
            [self.names[i] for i in m],
            centre=self.centre[m],
            scale=self.scale[m],
        )

    def _raw(self, samples: Samples) -> Float[Tensor, "M B N"]:
        x = samples.to(self.model.head.device)
        B, N, _ = x.mask.shape
        out = self.model.head.new_zeros(self.model.members, B, N)
        b, n = max(1, _ANSWERS // max(1, N)), min(N, _ANSWERS)
        for rows in torch.arange(B, device=x.mask.device).split(b):
            for some in torch.arange(N, device=x.mask.device).split(n):
                out[:, rows[:, None], some] = self.model(x[rows].pick(some.expand(len(rows), -1)))
        return out

    @torch.no_grad()
    def standardised(self, samples: Samples) -> Ensemble:
        """Give each member mean 0 and standard deviation 1 over these completions.

        A member that scores all of them alike keeps its scale.
        """
        raw = self._raw(samples)[:, samples.present.to(self.model.head.device)]
        spread = raw.std(1, correction=0)
        return Ensemble(
            self.model.config,
            self.model.weights(),
            self.names,
            centre=raw.mean(1),
            scale=torch.where(spread > 0, spread, torch.ones_like(spread)),
        )

    def save(self, folder: Path | str) -> None:
        """Write the folder that `load_reward` reads."""
        tensors = {**self.model.weights(), "centre": self.centre, "scale": self.scale}
        write_reward(folder, KIND, self.names, tensors, {"config": asdict(self.model.config)})

    @classmethod
    def load(cls, folder: Path | str) -> Ensemble:
        """Read what `save` wrote.

        Raises:
            InputError: A file is missing, foreign or damaged; the sentence names it.
        """

        def made(about: dict[str, Any], t: dict[str, Tensor]) -> Ensemble:
            scaling = {k: t.pop(k) for k in ("centre", "scale")}
            return cls(Config(**about["config"]), t, about["names"], **scaling)

        return read_reward(folder, KIND, made)
