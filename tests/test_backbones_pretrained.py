"""Policies on transformers' own models: what is drawn and what is scored are one law, whoever
stands beside a row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from families import FAMILIES, exact, model, tokenizer

from assay.core import InputError, Prompts, Rng, Samples
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens

ASKS = ["the old mill", "please tell me about the gate and the pond, and the river by it", "what?"]


def policy(family: str, **settings: Any) -> Causal:
    tokens = tokenizer()
    backbone = Pretrained(model(family, vocabulary=len(tokens), dtype=exact(family)[0]))
    return Causal(backbone, Tokens(tokens, size=len(tokens)), **{"max_tokens": 9, **settings})


def prompts(of: Causal) -> Prompts:
    return of.vocabulary.prompts(ASKS)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def whole_logits(of: Causal, x: Samples, b: int, n: int) -> torch.Tensor:
    """The model's own forward pass on one unpadded row: logits before each decision."""
    ask = x.prompts.tokens[b][x.prompts.mask[b]]
    row = torch.cat([ask, x.action[b, n][x.mask[b, n]]])
    with torch.no_grad():
        return of.backbone.model(input_ids=row[None]).logits[0, len(ask) - 1 : -1].double()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.0, 5, 1.0), (1.3, 0, 0.8), (0.9, 20, 0.9)],
)
def test_log_probabilities_of_drawing_are_those_of_scoring(
    family: str, temperature: float, top_k: int, top_p: float
) -> None:
    of = policy(family, temperature=temperature, top_k=top_k, top_p=top_p)
    x = of.sample(prompts(of), 4, Rng(1))
    assert x.mask.any() and x.lengths.float().std() >= 0
    assert (of.logp(x).detach() - x.logp).abs().max() < exact(family)[1]


def test_they_are_those_of_the_model_s_own_forward_pass(family: str) -> None:
    """Row by row, unpadded, by transformers alone: what is barred is the only difference."""
    of = policy(family, temperature=0.8)
    x = of.sample(prompts(of), 3, Rng(2))
    mine = of.logp(x).detach()
    for b in range(3):
        for n in range(3):
            logits = whole_logits(of, x, b, n) / 0.8
            logits[:, list(of.vocabulary.barred)] = -torch.inf
            taken = x.action[b, n][x.mask[b, n]]
            theirs = logits.log_softmax(-1).gather(1, taken[:, None])[:, 0]
            assert (mine[b, n][x.mask[b, n]] - theirs).abs().max() < exact(family)[1]


def test_scores_do_not_depend_on_neighbours_padding_or_batch_size(family: str) -> None:
    of = policy(family)
    x = of.sample(prompts(of), 4, Rng(3))
    together = of.logp(x).detach()
    for b in range(3):
        alone = of.logp(x[torch.tensor([b])]).detach()[0]
        assert (together[b] - alone).abs().max() < exact(family)[1]
    wide = replace(
        x.prompts,
        tokens=torch.cat([torch.full((3, 5), 7), x.prompts.tokens], 1),
        mask=torch.cat([torch.zeros(3, 5, dtype=torch.bool), x.prompts.mask], 1),
    )
    padded = of.logp(replace(x.widened(14), prompts=wide)).detach()[..., : together.shape[-1]]
    assert (padded - together).abs().max() < exact(family)[1]
    again = of.sample(wide, 4, Rng(3))
    assert torch.equal(again.action[again.mask], x.action[x.mask])


def test_drawing_does_not_depend_on_neighbours(family: str) -> None:
    """A prompt's answers are the same whoever is drawn beside it: addresses, and caches that do not
    mix.
    """
    of = policy(family)
    ask, rng = prompts(of), Rng(4)
    x = of.sample(ask, 3, rng)
    for b in range(3):
        rows = torch.tensor([b])
        alone = of.sample(ask[rows], 3, rng[rows])
        assert alone.text()[0] == x.text()[b]


def test_micro_batches_without_gradient_are_the_same(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = policy(family)
    x = of.sample(prompts(of), 4, Rng(5))
    with torch.no_grad():
        whole = of.logp(x)
        monkeypatch.setattr("assay.engine.passes.TOKENS", 30)
        pieces = of.logp(x)
    assert (whole - pieces).abs().max() < exact(family)[1] and (
        of.logp(x).detach() - whole
    ).abs().max() < exact(family)[1]


def test_answers_go_on_from_a_start_and_kl_to_itself_is_zero(family: str) -> None:
    of = policy(family)
    x = of.sample(prompts(of), 2, Rng(6))
    cut = replace(
        x, mask=x.mask & (torch.arange(x.mask.shape[2]) < 3), ended=torch.zeros_like(x.ended)
    )
    cut = replace(cut, logp=torch.where(cut.mask, x.logp, 0.0))
    longer = of.sample(x.prompts, 2, Rng(6), start=cut)
    assert torch.equal(longer.action[cut.mask], x.action[cut.mask])
    assert (of.logp(longer).detach() - longer.logp).abs().max() < exact(family)[1]
    assert float(of.kl(of, x).abs().max()) == 0
    assert float(of.kl(of.copy(), x).abs().max()) < 1e-6
    other = policy(family, temperature=1.5)
    assert float(of.kl(other, x).min()) >= 0 and float(of.kl(other, x).sum()) > 0


def test_a_gradient_reaches_every_weight_and_a_copy_is_its_own(family: str) -> None:
    of = policy(family).frozen()
    mine = of.copy()
    x = mine.sample(prompts(mine), 2, Rng(7))
    grads = torch.autograd.grad(mine.logp(x).sum(), list(mine.parameters()), allow_unused=True)
    names = [n for (n, _), g in zip(mine.named_parameters(), grads, strict=True) if g is None]
    assert names == [] and not any(p.requires_grad for p in of.parameters())
    with torch.no_grad():
        next(mine.parameters()).add_(1.0)
    assert not torch.equal(next(mine.parameters()), next(of.parameters()))


def test_several_ends_and_none_of_what_is_barred() -> None:
    tokens = tokenizer()
    end = tokens.convert_tokens_to_ids("<|end|>")
    backbone = Pretrained(model("llama", vocabulary=320, dtype=torch.float64))
    of = Causal(backbone, Tokens(tokens, size=320, ends=(1, end)), max_tokens=40)
    x = of.sample(prompts(of), 32, Rng(8))
    last = x.action.gather(2, (x.lengths - 1).clamp(min=0)[..., None])[..., 0]
    assert set(last[x.ended].tolist()) == {1, end} and x.ended.any() and not x.ended.all()
    drawn = set(x.action[x.mask].tolist())
    assert not drawn & {0, 2} and max(drawn) < len(tokens), (
        "padding, BOS and ids that the tokenizer does not have"
    )
    assert not torch.isin(
        x.action[
            x.mask
            & ~torch.nn.functional.one_hot((x.lengths - 1).clamp(min=0), x.mask.shape[2]).bool()
        ],
        torch.tensor([1, end]),
    ).any(), "an end is the last token of its answer"


def test_a_family_that_makes_logits_in_another_way_is_refused() -> None:
    class Louder(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.config, self.base_model = inner, inner.config, inner.base_model

        def forward(self, **given: Any) -> Any:
            out = self.inner(**given)
            out.logits = out.logits * 3
            return out

        def __getattr__(self, name: str) -> Any:
            own = ("inner", "base_model")
            return (
                super().__getattr__(name)
                if name in own
                else getattr(super().__getattr__("inner"), name)
            )

    with pytest.raises(InputError, match="differ by .* from its own forward pass"):
        Pretrained(Louder(model("llama")))
