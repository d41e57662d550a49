"""Small language models pretrained on text, and reward models that are fine-tuned from them.

A pretraining seed sets a model's first weights and the order of its texts, a fine-tuning seed the
first weights of a reward head and the order of the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import InputError, Loop, Pairs, Prompts, Rng, Samples, Task, order
from assay.core.samples import S
from assay.engine import progress
from assay.engine.descend import descend
from assay.errors import Missing
from assay.formulas.reduce import per_token
from assay.models.backbones.backbone import read
from assay.models.backbones.llama import Config, Llama
from assay.rewards.ensemble import Ensemble, Members
from assay.rewards.fit import Loss, fitted


@dataclass(frozen=True)
class Known:
    """The tokens that some texts use, numbered anew, so that a small model has a small vocabulary.

    Attributes:
        ids: The tokens, ascending. All others are one further token.
    """

    ids: Int[Tensor, "V"]

    @classmethod
    def of(cls, *texts: Samples) -> Known:
        """Collect the tokens of prompts and completions."""
        used = [x.prompts.tokens[x.prompts.mask] for x in texts]
        used += [x.action[x.mask | x.given] for x in texts]
        return cls(torch.unique(torch.cat(used)))

    def __len__(self) -> int:
        return len(self.ids) + 1

    def __call__(self, samples: S) -> S:
        """Return the same prompts and completions in the new numbers."""
        prompts = replace(samples.prompts, tokens=self._places(samples.prompts.tokens))
        return replace(samples, prompts=prompts, action=self._places(samples.action))

    def _places(self, tokens: Tensor) -> Tensor:
        at = torch.searchsorted(self.ids, tokens).clamp(max=len(self.ids) - 1)
        return torch.where(self.ids[at] == tokens, at, len(self.ids))


def as_texts(samples: Samples) -> Samples:
    """Make a text of each prompt with its completion: the first token, then all that follow it.

    Args:
        samples: N completions of each of B prompts; absent ones are left out.

    Returns:
        One text a row, of two tokens at least: a prompt of one token and one completion.
    """
    B, N, _ = samples.mask.shape
    ask, hold = samples.prompts, samples.mask | samples.given
    here = samples.present.flatten().nonzero()[:, 0]

    def rows(prompt: Tensor, completion: Tensor) -> Tensor:
        wide = prompt[:, None].expand(B, N, prompt.shape[1])
        return torch.cat([wide, completion], 2).flatten(0, 1)[here]

    tokens, keep = rows(ask.tokens, samples.action), rows(ask.mask, hold)
    at = torch.argsort(~keep, dim=1, stable=True)[:, : int(keep.sum(1).max())]
    tokens, keep = tokens.gather(1, at), keep.gather(1, at)
    mask = keep[:, None, 1:]
    prompts = Prompts(tokens[:, :1], keep[:, :1], torch.arange(len(tokens)))
    nothing = torch.zeros(mask.shape)
    ended = torch.ones(len(tokens), 1, dtype=torch.bool)
    return Samples(prompts, tokens[:, None, 1:], mask, torch.zeros_like(mask), nothing, ended)


def token_logps(model: Llama, texts: Samples) -> Float[Tensor, "B 1 T"]:
    """Return log p(token | the tokens before it) of every token of a text but its first."""
    hidden, before = read(model, texts, texts.mask)
    logits = model.logits(hidden.index_select(0, before[..., :-1][texts.mask]))
    own = texts.action[texts.mask][:, None]
    each = logits.log_softmax(-1).gather(1, own)[:, 0]
    return each.new_zeros(texts.mask.shape).masked_scatter(texts.mask, each)


@torch.no_grad()
def text_loss(model: Llama, texts: Samples, *, rows: int = 64) -> float:
    """Return −log p a token, in nats, over all tokens of some texts.

    Args:
        model: A language model.
        texts: See `as_texts`.
        rows: Texts a pass.
    """
    total = 0.0
    for some in torch.arange(len(texts)).split(rows):
        total -= float(token_logps(model, texts[some]).sum())
    return total / int(texts.mask.sum())


def pretrained(config: Config, texts: Samples, *, seed: int, loop: Loop, rng: Rng) -> Llama:
    """Pretrain a language model on texts: the mean over tokens of −log p.

    Args:
        config: Its sizes.
        texts: See `as_texts`.
        seed: The pretraining seed: of first weights and of the texts' order.
        loop: Steps, texts a step, learning rate and warm-up; 0 steps leave the first weights.
        rng: The address under which seeds are drawn.
    """
    own = rng("pretraining seed", seed)
    model = Llama(config, own("weights"))
    optimiser = loop.optimiser(model)
    for t in progress.over(range(loop.max_steps), f"pretraining, seed {seed}", "updates"):
        batch = texts[order(len(texts), loop.batch_size, t, own("order"))]
        descend(optimiser, lambda x, _: -token_logps(model, x), batch, reduce=per_token)
    return model


def fine_tuned(
    trunks: Sequence[Llama], pairs: Pairs, *, seeds: int, loss: Loss, loop: Loop, rng: Rng
) -> Ensemble:
    """Fine-tune reward models from pretrained trunks, trunk and head alike.

    Args:
        trunks: Pretrained language models of one size.
        pairs: The pairs, the same for all.
        seeds: Fine-tuning seeds a trunk.
        loss: See `rewards.fit.trained`.
        loop: Steps, batch size, learning rate and warm-up.
        rng: The address of heads and of the order of pairs.

    Returns:
        The reward models, fine-tuning seed f of trunk p at place p·seeds + f.

    Raises:
        InputError: There is no trunk, or they differ in size.
    """
    if not trunks or any(t.config != trunks[0].config for t in trunks):
        raise InputError("reward models are fine-tuned from trunks of one size; give at least one")
    model = Members(trunks[0].config, len(trunks) * seeds, rng("fine-tuning seeds"))
    each: list[Mapping[str, Tensor]] = [t.weights() for t in trunks for _ in range(seeds)]
    with torch.no_grad():
        for name, weight in model.backbone.weights().items():
            weight.copy_(torch.stack([w[name] for w in each]))
    drawn = replace(loop, seed=int(rng("order of pairs").integers(2**31, 0)))
    out = fitted(model, pairs, loss=loss, loop=drawn)
    assert isinstance(out, Ensemble)
    return out


class Joined:
    """Reward models of known tokens as one reward on any completions.

    Args:
        known: The tokens that they know.
        parts: The reward models, in order.
    """

    partial = False

    def __init__(self, known: Known, parts: Sequence[Ensemble]):
        self.known, self.parts = known, tuple(parts)
        self.names = tuple(f"judge{m}" for m in range(sum(len(p.names) for p in parts)))

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        """Score completions by every member."""
        x = self.known(samples)
        return torch.cat([part(x) for part in self.parts])

    def only(self, members: Sequence[int]) -> Joined:
        """Select members; parts without any are not computed."""
        at = [(k, m) for k, part in enumerate(self.parts) for m in range(len(part.names))]
        return Joined(self.known, [self.parts[at[i][0]].only([at[i][1]]) for i in members])


def texts_of(task: Task, which: str) -> Samples:
    """The texts of a task that a language model may be pretrained on.

    Args:
        task: The task.
        which: "demos" for its demonstrations, "pairs" for both completions of its pairs, or "" for
            the demonstrations where it has them, else the pairs.

    Raises:
        InputError: `which` is none of these.
        Missing: The task has no such texts.
    """
    if which not in ("", "demos", "pairs"):
        raise InputError(f"--text is '{which}'; give demos or pairs")
    if which == "pairs":
        return task.pairs
    try:
        return task.demos
    except Missing:
        if which:
            raise
        return task.pairs
