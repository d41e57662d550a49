"""SparsePO and MaPO: tokens compared in blocks; masks learn, are saved and find what decides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from torch import Tensor

from assay.core import Carry, ComparesTokens, InputError, Loop, Optimiser, Pairs, Rng, Task
from assay.engine.descend import micro_batches
from assay.formulas.divergence import kl_full
from assay.models.backbones.llama import Config, Llama
from assay.models.policies import causal
from assay.models.policies.causal import Causal
from assay.models.policies.table import TablePolicy
from assay.models.vocabulary import Vocabulary
from assay.recipes import sparse_po
from assay.worlds import hub

WORDS = Vocabulary(["a", "b", "c", "d", "cue", "good", "bad"])


def language_model(seed: int, *, layers: int = 1, **how: Any) -> Causal:
    own = Llama(Config(len(WORDS), 16, layers, heads=2, kv_heads=2, inner=24), Rng(seed))
    return Causal(own, WORDS, max_tokens=6, **how).double()


def pairs_of(texts: list[list[str]]) -> Pairs:
    prompts = WORDS.prompts(["a"] * len(texts))
    x = WORDS.completions(prompts, texts, torch.float64)
    own = {k: getattr(x, k) for k in ("prompts", "action", "mask", "given", "logp", "ended")}
    return Pairs(**own, p=torch.ones(len(texts)), margin=torch.zeros(len(texts)))


TEXTS = [["a b c", "d a"], ["cue good a b", "cue bad"], ["b", "c d d a"]]


@pytest.fixture
def pairs() -> Pairs:
    return pairs_of(TEXTS)


def test_a_language_model_is_compared_token_by_token(pairs: Pairs) -> None:
    policy, reference = language_model(1), language_model(2).frozen()
    found = policy.compared(reference, pairs)
    torch.testing.assert_close(found.logp, policy.logp(pairs))
    torch.testing.assert_close(found.reference_logp, reference.logp(pairs))
    assert isinstance(policy, ComparesTokens)
    # KL(reference‖policy) at the second decision of the first completion, by hand
    state, place = zip(policy.states(pairs), reference.states(pairs), strict=True)
    mine, theirs = (
        p.log_probs(h, place[0]) for p, h in zip((policy, reference), state, strict=True)
    )
    want = kl_full(theirs, mine)
    torch.testing.assert_close(found.kl[pairs.mask], want)
    assert (found.kl[~pairs.mask] == 0).all() and (want > 0).all()
    own = kl_full(mine, theirs)
    assert not torch.allclose(want, own), "the KLs of both directions differ"
    torch.testing.assert_close(found.own_kl[pairs.mask], own)
    assert (found.own_kl[~pairs.mask] == 0).all() and found.own_kl.requires_grad
    (shown,) = found.states
    torch.testing.assert_close(shown[pairs.mask], state[1])
    assert not shown.requires_grad and not found.reference_logp.requires_grad


def test_blocks_change_neither_values_nor_gradients(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, reference = language_model(1), language_model(2).frozen()

    def gradients() -> list[Tensor]:
        policy.zero_grad()
        found = policy.compared(reference, pairs)
        (found.kl.sum() + 2 * found.logp.sum() + 3 * found.own_kl.sum()).backward()
        return [found.logp, found.kl, found.own_kl, *(p.grad.clone() for p in policy.parameters())]  # type: ignore[union-attr]

    whole = gradients()
    monkeypatch.setattr(causal, "_CHUNK", 3 * len(WORDS))
    assert len(list(policy.pieces(int(pairs.mask.sum())))) > 3
    for a, b in zip(whole, gradients(), strict=True):
        torch.testing.assert_close(a, b)
    assert all(p.grad is None for p in reference.parameters())


def test_what_cannot_be_compared_is_said(pairs: Pairs) -> None:
    reference = language_model(2).frozen()
    with pytest.raises(InputError, match="train with top_k 0 and top_p 1"):
        language_model(1, top_k=3).compared(reference, pairs)
    table = TablePolicy(torch.zeros(1, 4))
    with pytest.raises(InputError, match="with those of a TablePolicy: it is no language model"):
        language_model(1).compared(table, pairs)
    with pytest.raises(InputError, match="with another table, not with a Causal"):
        table.compared(reference, pairs)
    for how, said in (
        ({"masks": "binary"}, "--masks is 'binary'; it is one of shared, separate"),
        ({"layers": "first"}, "--layers is 'first'; it is one of all, last"),
        ({"dropout": 1.0}, "--dropout is 1.0; it is a share from 0 to below 1"),
    ):
        with pytest.raises(InputError, match=said):
            next(sparse_po.recipe(task_of(reference, pairs), **how))


def test_a_table_s_states_are_what_was_drawn_before() -> None:
    table = TablePolicy(torch.randn(1, 3, dtype=torch.float64), length=3)
    x = table.sample(table.prompts(torch.arange(2)), 2, Rng(1))
    found = table.copy().compared(table, x)
    (states,) = found.states
    assert states.shape == (2, 2, 3, 3 + 3)
    for t in range(3):
        counts = torch.nn.functional.one_hot(x.action[..., :t], 3).sum(2)
        assert torch.equal(states[..., t, :3], counts.double())
        assert (states[..., t, 3:].argmax(-1) == t).all()
    assert found.kl.abs().max() < 1e-12, "a copy has not moved"
    moved = TablePolicy(torch.randn(1, 3, dtype=torch.float64), length=3)
    found = moved.compared(table, x)
    want = moved.kl_per_decision(table, x.prompts)[:, None, None]
    torch.testing.assert_close(found.own_kl, want.expand(2, 2, 3))


def task_of(reference: Any, pairs: Pairs, **parts: Any) -> Task:
    return Task(prompts=pairs.prompts, reference=reference, pairs=pairs, rng=Rng(5), **parts)


LOOP = Loop(max_steps=3, batch_size=3, learning_rate=0.01)


@pytest.mark.parametrize("masks", sparse_po.MASKS)
def test_every_kind_of_mask_trains_and_says_how_sparse_it_is(masks: str, pairs: Pairs) -> None:
    reference = language_model(2).frozen()
    steps = list(sparse_po.recipe(task_of(reference, pairs), masks=masks, loop=LOOP))
    stats = steps[0].stats
    assert 0 <= stats["masks/reward_sparsity"] <= 1 and stats["masks/reward_mass"] >= 0
    assert abs(stats["kl/forward"]) < 1e-12 < steps[-1].stats["kl/forward"]
    same = stats["masks/kl_mass"] == stats["masks/reward_mass"]
    assert same == (masks != "separate")
    if masks == "ones":
        assert stats["masks/reward_sparsity"] == 0 and stats["masks/reward_mass"] == 1
    if masks == "activations":  # a mean of many numbers in [0, 1], of which few tokens have all 0
        assert 0 < stats["masks/reward_mass"] < 1 and stats["masks/reward_sparsity"] == 0


def test_l1_is_a_sum_over_the_tokens_of_both_completions(pairs: Pairs) -> None:
    reference = language_model(2).frozen()

    def first(**how: Any) -> dict[str, float]:
        return next(sparse_po.recipe(task_of(reference, pairs), loop=LOOP, **how)).stats

    without = first(l1_reward=0.0, l1_kl=0.0)
    tokens = float(pairs.mask.sum()) / len(pairs)
    for name in ("reward", "kl"):
        more = first(**{"l1_reward": 0.0, "l1_kl": 0.0, f"l1_{name}": 0.5})["loss"]
        added = 0.5 * tokens * without[f"masks/{name}_mass"]
        assert more - without["loss"] == pytest.approx(added) and added > 0


@pytest.mark.parametrize("layers", sparse_po.LAYERS)
def test_heads_are_saved_and_resumed_with_their_moments(layers: str, pairs: Pairs) -> None:
    """Dropout is drawn by address, so that a killed run drops what it would have dropped."""
    reference, how = language_model(2, layers=2).frozen(), {"layers": layers, "dropout": 0.3}

    def run(steps: int, carry: Carry) -> dict[str, Any]:
        task = task_of(reference, pairs, carry=carry)
        list(sparse_po.recipe(task, masks="separate", loop=replace(LOOP, max_steps=steps), **how))
        return carry.state()

    half = run(2, Carry())
    a, b = run(4, Carry())["kept"], run(4, Carry(half))["kept"]
    for part in ("policy", "heads"):
        assert all(torch.equal(a[part][k], b[part][k]) for k in a[part])
    own = ["weight", "bias", "mixer", "scale", "shift"][: 2 if layers == "last" else 5]
    assert a["heads"].keys() == {f"{k}.{name}" for k in range(2) for name in own}
    assert len(a["opt"]["adam"]) == len(list(reference.parameters())) + 2 * len(own)
    for name in a["heads"]:  # all are trained
        assert (half["kept"]["heads"][name] - a["heads"][name]).abs().max() > 0, name


@pytest.mark.parametrize(
    "how",
    [{"dropout": 0.4}, {"masks": "random"}, {"masks": "activations"}, {"shuffled": True}],
    ids=str,
)
def test_micro_batches_change_no_number(how: dict[str, Any], pairs: Pairs) -> None:
    reference, found = language_model(2, layers=2).frozen(), list[Any]()
    for size in (0, 2):
        carry = Carry()
        with micro_batches(size):
            steps = list(sparse_po.recipe(task_of(reference, pairs, carry=carry), loop=LOOP, **how))
        found.append((steps[-1].stats, carry.state()["kept"]["policy"]))
    for name, value in found[0][0].items():
        assert value == pytest.approx(found[1][0][name], abs=1e-9), name
    for a, b in zip(found[0][1].values(), found[1][1].values(), strict=True):
        torch.testing.assert_close(a, b)


def test_random_weights_are_drawn_anew_at_each_step(pairs: Pairs) -> None:
    reference, loop = language_model(2).frozen(), replace(LOOP, learning_rate=1e-9, max_steps=40)
    steps = list(sparse_po.recipe(task_of(reference, pairs), masks="random", loop=loop))
    means = [s.stats["masks/reward_mass"] for s in steps]
    assert len(set(means)) == 40 and abs(sum(means) / 40 - 0.5) < 0.05


def test_only_decayed_parameters_shrink_and_by_the_rate() -> None:
    a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
    opt = Optimiser([a, b], lr=0.1, warmup=2, decayed=[b], weight_decay=0.5)
    for p in (a, b):
        p.grad = torch.zeros(2)
    opt.step(opt.norm())
    assert a.tolist() == [1, 1] and b.tolist() == pytest.approx([1 - 0.05 * 0.5] * 2)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [False, True])
def test_the_mask_finds_the_token_that_decides(shuffled: bool) -> None:
    """After `cue`, one token decides the label; all others are the same coins in both completions.

    The weight before a token is a function of what came before, so it can know that `cue` did.
    """
    draws = torch.rand(32, 2, 3, generator=torch.Generator().manual_seed(1))
    coins = [[[("a", "b", "c", "d")[int(4 * u)] for u in row] for row in both] for both in draws]
    texts = [[f"{w[0]} cue good {w[1]}", f"{l[0]} cue bad {l[2]}"] for w, l in coins]
    pairs = pairs_of(texts)
    reference, carry = language_model(2).frozen(), Carry()
    loop = Loop(max_steps=100, batch_size=16, learning_rate=0.015)
    how: dict[str, Any] = {
        "layers": "last",
        "dropout": 0.0,
        "kl_weight": 0.0,
        "l1_reward": 0.02,
        "beta": 0.5,
    }
    how["shuffled"] = shuffled
    last = list(sparse_po.recipe(task_of(reference, pairs, carry=carry), loop=loop, **how))[-1]
    policy: Any = last.policy
    found = policy.compared(reference, pairs)
    heads = carry.state()["kept"]["heads"]
    m = torch.relu(found.states[0] @ heads["0.weight"][0] + heads["0.bias"][0])
    decisive, others = m[..., 2].mean(), m[..., [0, 1, 3]].mean()
    assert last.stats["rewards/accuracies"] > 0.95
    assert (decisive > 3 * others) != shuffled, "what is learned at random places finds nothing"


@pytest.mark.parametrize("lora", [0, 2])
def test_a_model_from_a_folder_is_compared_with_its_reference(tmp_path: Path, lora: int) -> None:
    """Also where the policy is adapters on the reference's own weights."""
    if lora:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    asks = ["what is the weather?", "where is the dog?", "who walks home?"]
    lines = [{"prompt": a, "chosen": "we walk home", "rejected": "it rains"} for a in asks]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    world = hub.world(
        policy=str(checkpoint(tmp_path / "model", "llama")),
        pairs=str(tmp_path / "pairs.jsonl"),
        held_out=-1,
        max_tokens=24,
        lora=lora,
    )
    loop = Loop(max_steps=3, batch_size=3, learning_rate=1e-2)
    for masks in ("shared", "activations"):
        steps = list(sparse_po.recipe(world.task.replaced(carry=Carry()), masks=masks, loop=loop))
        first, last = steps[0].stats, steps[-1].stats
        assert first["kl/forward"] < 1e-4 < last["kl/forward"]
        assert last["rewards/margins"] > first["rewards/margins"]
