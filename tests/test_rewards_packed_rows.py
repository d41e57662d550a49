"""A reward model that computes a prompt once scores as its own forward pass does."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import pytest
import torch
from families import FAMILIES, MORE
from hypothesis import given
from hypothesis import strategies as st

from assay.models.backbones.shared_pass import NAME
from assay.rewards.encoding import Template
from assay.rewards.packed_rows import by_prompt, grouped, packed_scores, shares_prompts
from assay.rewards.row_passes import logits
from assay.rewards.row_tokens import Encoded, batched

PAD = 2


def classifier(family: str, *, head: bool = True) -> Any:
    import transformers
    from families import model

    config = model(family).config
    config.num_labels, config.pad_token_id = 1, PAD
    kind = transformers.AutoModelForSequenceClassification
    if type(config) not in kind._model_mapping:
        pytest.skip(f"transformers has no classifier of the {family} family")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = kind.from_config(config, attn_implementation="eager")
        for p in made.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return made.eval()


def rows(n: int = 9) -> list[Encoded]:
    """Of three prompts in mixed order; a prompt may be another's beginning."""
    draw = torch.Generator().manual_seed(3)
    asks = [tuple(range(20, 26)), tuple(range(20, 23)), (7, 9, 30, 31)]
    out = []
    for i in range(n):
        ask, t = asks[i % 3], int(torch.randint(1, 8, (), generator=draw))
        own = torch.randint(3, 300, (t,), generator=draw).tolist()
        out.append(Encoded((*ask, *own), len(ask), 0))
    return out


def own_scores(model: Any, some: list[Encoded]) -> torch.Tensor:
    ids, mask, _ = batched(some, PAD, segments=False)
    out: torch.Tensor = model(input_ids=ids, attention_mask=mask.long()).logits[:, 0]
    return out


@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_scores_and_gradients_are_the_model_s_own(family: str) -> None:
    model, some = classifier(family), rows()
    found = []
    for how in (own_scores, lambda m, r: packed_scores(m, r, PAD)):
        model.zero_grad()
        out = how(model, some)
        if out is None:
            assert type(getattr(model, "score", None)) is not torch.nn.Linear
            return
        (out * torch.arange(9.0)).sum().backward()
        found.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    assert shares_prompts(model)
    for own, mine in zip(*found, strict=True):
        assert (own - mine).abs().max() < 2e-4 * max(1.0, float(own.abs().max()))


def test_rows_that_end_in_padding_or_have_no_prompt_are_scored_by_the_model() -> None:
    """It looks for a row's end by the padding token, and would read another place."""
    model = classifier("llama")
    assert packed_scores(model, [Encoded((5, 6, PAD), 2, 0)], PAD) is None
    assert packed_scores(model, [Encoded((5, 6), 0, 0)], PAD) is None
    assert packed_scores(model, [], PAD) is None


def test_an_encoder_is_scored_row_by_row() -> None:
    """It sees what comes after, and two completions of a prompt would see one another's prompt."""
    import transformers

    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=50, intermediate_size=16, num_labels=1, **size)
    assert not shares_prompts(transformers.AutoModelForSequenceClassification.from_config(config))


def test_a_live_model_is_left_as_it_was() -> None:
    model = classifier("llama")
    model.train()
    model.config.attention_dropout = 0.1
    before = {n: p.clone() for n, p in model.named_parameters()}
    packed_scores(model, rows(), PAD)
    assert model.training and model.config.attention_dropout == 0.1
    assert model.config._attn_implementation != NAME
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), max_size=12), st.integers(1, 20))
def test_passes_hold_every_row_once_and_a_prompt_s_rows_together(
    asks: list[tuple[int, int]], tokens: int
) -> None:
    some = [Encoded((a, *range(10, 10 + t)), 1, 0) for a, t in asks]
    passes = by_prompt(some, tokens)
    assert sorted(i for p in passes for i in p) == list(range(len(some)))
    assert all(len(p) == 1 or sum(len(some[i].ids) for i in p) <= tokens for p in passes)
    order = [some[i].ids[0] for p in passes for i in p]
    assert len([a for a, b in itertools.pairwise(order) if a != b]) < 3


def test_groups_hold_each_row_where_they_say() -> None:
    some = rows()
    prompt, ask, completion, keep, row, place = grouped(some)
    assert len(prompt) == 3
    for i, r in enumerate(some):
        b, n = int(row[i]), int(place[i])
        ids = [*prompt[b][ask[b]].tolist(), *completion[b, n][keep[b, n]].tolist()]
        assert tuple(ids) == r.ids


def test_a_model_is_forgotten_with_its_last_reward() -> None:
    model = classifier("llama")
    assert shares_prompts(model)
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


def test_a_row_that_ends_in_what_the_model_takes_for_padding_is_scored_by_the_model() -> None:
    """Its configuration may name another padding token than its tokenizer, such as the end's."""
    model = classifier("llama")
    model.config.pad_token_id = 1
    assert packed_scores(model, [Encoded((5, 6, 7, 1), 2, 0)], PAD) is None


def test_adapters_outside_of_the_layers_are_not_left_out() -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    model, some = classifier("llama"), rows()
    assert shares_prompts(model)  # before it was adapted
    how = peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4)
    adapted = peft.get_peft_model(model, how).eval()
    assert packed_scores(adapted, some, PAD) is None and not shares_prompts(adapted)


def test_rows_scored_by_the_model_are_not_padded_to_a_long_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = [*rows(), Encoded(tuple(range(5, 105)), 0, 0)]
    model, seen = classifier("llama"), []
    inner = model.forward
    with torch.no_grad():
        alone = torch.cat([own_scores(model, [r]) for r in some])
        monkeypatch.setattr(
            model, "forward", lambda **x: (seen.append(x["input_ids"].numel()), inner(**x))[1]
        )
        monkeypatch.setattr("assay.engine.passes.TOKENS", 100)
        together = logits(model, some, PAD, Template("plain", 128, segments=False))
    assert (alone - together).abs().max() < 1e-5
    assert max(seen) <= 100
