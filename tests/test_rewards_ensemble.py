"""M judges as one model: the packed path against a plain one, independence of members, what is
saved and what is not.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import InputError, Loop, Pairs, Rng, Samples
from assay.formulas.pairwise import bradley_terry, centring
from assay.models.backbones.attention import Config
from assay.models.backbones.llama import Llama
from assay.models.vocabulary import Vocabulary
from assay.recipes.bradley_terry import fit
from assay.rewards.ensemble import Ensemble, Members
from assay.rewards.fit import fitted
from assay.rewards.folder import ABOUT, WEIGHTS

WORDS = Vocabulary(["ask", "a", "b", "c", "d"])
CONFIG = Config(len(WORDS), 16, 2, 2, 1, 32)
NAMES = ("x", "y", "z")


def answers(texts: list[list[str]], prompts: list[str] | None = None) -> Samples:
    return WORDS.completions(WORDS.prompts(prompts or ["ask a", "ask"][: len(texts)]), texts)


SOME = answers([["a b c", "d", ""], ["b b b b b", "c d"]])  # the last answer is absent


def members(M: int = 3, dtype: torch.dtype = torch.float64) -> Members:
    return Members(CONFIG, M, Rng(7)).to(dtype)


def pairs(n: int = 40) -> Pairs:
    """Texts in which an answer with more b is better."""
    draw = (
        Rng(3)
        .integers(4, torch.arange(n)[:, None, None], torch.arange(2)[:, None], torch.arange(4))
        .tolist()
    )
    texts = [[" ".join("abcd"[i] for i in one) for one in two] for two in draw]
    rows = [sorted(two, key=lambda t: -t.count("b")) for two in texts]
    x = answers(rows, ["ask a"] * n)
    return Pairs(
        **{f.name: getattr(x, f.name) for f in fields(x)}, p=torch.ones(n), margin=torch.zeros(n)
    )


def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
    return bradley_terry(chosen, rejected, p=p, margin=margin) + 0.01 * centring(chosen, rejected)


def test_each_member_is_a_llama_and_its_head_on_the_last_kept_token() -> None:
    """The packed path with shared prompts equals a plain model that reads one text at a time."""
    model = members()
    scores = model(SOME)
    for m in range(3):
        alone = model.backbone.member(m)
        assert isinstance(alone, Llama)
        for b, n in SOME.present.nonzero().tolist():
            text = torch.cat(
                [SOME.prompts.tokens[b][SOME.prompts.mask[b]], SOME.action[b, n][SOME.mask[b, n]]]
            )[None]
            hidden = alone.hidden(text, torch.ones_like(text, dtype=torch.bool))
            assert scores[m, b, n].item() == pytest.approx(
                float(hidden[0, -1].detach() @ model.head[m].detach()), abs=1e-10
            )


def test_members_are_different_and_none_depends_on_how_many_there_are() -> None:
    three, one = members(3), members(1)
    assert torch.equal(three(SOME)[0], one(SOME)[0])
    assert not torch.allclose(three(SOME)[0], three(SOME)[1])


def test_padding_absent_answers_and_the_order_of_answers_never_matter() -> None:
    judge = members().freeze(NAMES)
    scores = judge(SOME)
    assert float(scores[:, 1, 2].abs().max()) == 0  # absent
    assert torch.allclose(judge(SOME.widened(40)), scores, atol=1e-12)
    turned = torch.tensor([[2, 0, 1], [2, 0, 1]])
    assert torch.allclose(judge(SOME.pick(turned)), scores[:, :, [2, 0, 1]], atol=1e-12)
    assert torch.allclose(judge(SOME[torch.tensor([1])]), scores[:, 1:], atol=1e-12)


def test_passes_of_a_bounded_size_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = members().freeze(NAMES)
    whole = judge(SOME)
    for size in (1, 2, 4):
        monkeypatch.setattr("assay.rewards.ensemble._ANSWERS", size)
        assert torch.allclose(judge(SOME), whole, atol=1e-12)


def test_own_rows_for_each_member_and_gradients_that_stay_with_it() -> None:
    model = members()
    each = [SOME[torch.tensor([1, 0])], SOME, SOME]
    own = model(each)
    assert torch.allclose(own[0], model(SOME)[0].flip(0))
    assert torch.allclose(own[1:], model(SOME)[1:])
    (gradient,) = torch.autograd.grad(own[1].sum(), [model.head])
    assert float(gradient[1].abs().sum()) > 0
    assert float(gradient[[0, 2]].abs().sum()) == 0
    with pytest.raises(InputError, match="2 batches for 3 members"):
        model(each[:2])


def test_another_tokenizer_s_answers_are_refused() -> None:
    foreign = replace(SOME, action=SOME.action + 1)
    with pytest.raises(InputError, match="token 8 is not in these reward models' vocabulary of 8"):
        members()(foreign)


def test_frozen_judges_are_their_own() -> None:
    model = members()
    judge = model.freeze(NAMES)
    before = judge(SOME)
    with torch.no_grad():
        model.head.add_(1)
    assert torch.equal(judge(SOME), before)
    assert judge.names == NAMES
    assert not before.requires_grad


def test_standardised_members_have_mean_0_and_deviation_1() -> None:
    judge = members().freeze(NAMES).standardised(SOME)
    scores = judge(SOME)[:, SOME.present]
    assert torch.allclose(scores.mean(1), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(scores.std(1, correction=0), torch.ones(3, dtype=torch.float64))
    again = judge.standardised(SOME)
    assert torch.allclose(again(SOME), judge(SOME))
    one = answers([["a b c"]])
    assert torch.equal(
        judge.standardised(one).scale, torch.ones(3, dtype=torch.float64)
    )  # nothing to scale by


def test_saved_and_read_back(tmp_path: Path) -> None:
    judge = members(dtype=torch.float32).freeze(NAMES).standardised(SOME)
    judge.save(tmp_path / "judges")
    back = Ensemble.load(tmp_path / "judges")
    assert back.names == NAMES
    assert torch.equal(back(SOME), judge(SOME))


def unsealed(about: Path) -> dict[str, Any]:
    """A description as an earlier assay wrote it, without a seal."""
    return {k: v for k, v in json.loads(about.read_text()).items() if k != "seal"}


def damage(folder: Path, how: str) -> None:
    about, weights = folder / ABOUT, folder / WEIGHTS
    if how == "no weights":
        weights.unlink()
    elif how == "half the weights":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif how == "one byte":
        raw = bytearray(weights.read_bytes())
        raw[-5] ^= 1
        weights.write_bytes(bytes(raw))
    elif how == "no text":
        about.write_bytes(b"\xff\xfe{")
    elif how == "a list":
        about.write_text("[]")
    elif how == "another kind":
        about.write_text(json.dumps({**unsealed(about), "kind": "linear"}))
    elif how == "a name too many":
        said = unsealed(about)
        about.write_text(json.dumps({**said, "names": [*said["names"], "more"]}))
    elif how == "another size":
        said = unsealed(about)
        about.write_text(json.dumps({**said, "config": {**said["config"], "width": 32}}))


@pytest.mark.parametrize(
    "how",
    [
        "no weights",
        "half the weights",
        "one byte",
        "no text",
        "a list",
        "another kind",
        "a name too many",
        "another size",
    ],
)
def test_a_damaged_or_foreign_folder_is_an_input_error(tmp_path: Path, how: str) -> None:
    members(dtype=torch.float32).freeze(NAMES).save(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(InputError, match=str(tmp_path)) as said:
        Ensemble.load(tmp_path)
    assert "\n" not in str(said.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no fitted reward"):
        Ensemble.load(tmp_path / "nowhere")


def test_fitted_judges_prefer_what_was_preferred() -> None:
    data = pairs()
    judge = fit(
        members(2, torch.float32), data, loop=Loop(max_steps=60, batch_size=16, learning_rate=3e-3)
    )
    assert isinstance(judge, Ensemble)
    assert judge.names == ("judge0", "judge1")
    gap = judge(data)[..., 0] - judge(data)[..., 1]
    clear = torch.tensor([t[0].count("b") > t[1].count("b") for t in data.text()])
    assert float((gap[:, clear] > 0).float().mean()) > 0.9


def test_a_member_is_the_same_whatever_stands_beside_it() -> None:
    one, three = (
        fit(
            members(M, torch.float32),
            pairs(),
            bootstrap=True,
            loop=Loop(max_steps=5, batch_size=8, learning_rate=3e-3),
        )
        for M in (1, 3)
    )
    assert torch.equal(one(SOME)[0], three(SOME)[0])
    assert not torch.allclose(three(SOME)[0], three(SOME)[1])


def test_same_arguments_same_judge_and_another_seed_another_order() -> None:
    a, b, c = (
        fit(members(1, torch.float32), pairs(), loop=Loop(max_steps=5, batch_size=8, seed=s))(SOME)
        for s in (0, 0, 1)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_thin_recipe_is_the_loop_with_its_loss() -> None:
    loop = Loop(max_steps=5, batch_size=8)
    assert torch.equal(
        fit(members(1), pairs(), loop=loop)(SOME),
        fitted(members(1), pairs(), loss=loss, loop=loop)(SOME),
    )


def test_turned_labels_fit_the_turned_judge_s_data() -> None:
    """p = 0 says the second is better: the same as exchanging the two answers."""
    data = pairs()
    turned = data.pick(torch.tensor([[1, 0]]).expand(len(data), 2))
    a = fit(
        members(1), replace(data, p=torch.zeros(len(data))), loop=Loop(max_steps=5, batch_size=8)
    )
    b = fit(members(1), turned, loop=Loop(max_steps=5, batch_size=8))
    assert torch.allclose(a(SOME), b(SOME), atol=1e-9)


def test_a_margin_asks_for_a_wider_gap() -> None:
    data, loop = pairs(), Loop(max_steps=40, batch_size=16, learning_rate=3e-3)
    plain, wide = (
        fit(members(1), replace(data, margin=torch.full((len(data),), m)), loop=loop)(data)
        for m in (0.0, 2.0)
    )
    assert float((wide[..., 0] - wide[..., 1]).mean()) > float(
        (plain[..., 0] - plain[..., 1]).mean()
    )


def test_centring_pulls_the_constant_to_zero() -> None:
    data, loop = pairs(), Loop(max_steps=40, batch_size=16, learning_rate=3e-3)
    loose, tight = (
        fit(members(1), data, centre=c, loop=loop)(data).sum(-1).abs().mean() for c in (0.0, 1.0)
    )
    assert float(tight) < float(loose)


def test_pairs_that_are_none() -> None:
    with pytest.raises(InputError, match="0 rows"):
        fit(members(1), pairs()[torch.arange(0)], loop=Loop(max_steps=1))
    three = pairs().pick(torch.zeros(40, 3, dtype=torch.long))
    with pytest.raises(InputError, match="these rows have 3"):
        fit(members(1), three, loop=Loop(max_steps=1))


def test_a_pair_with_an_absent_answer_has_no_part() -> None:
    data = pairs(10)
    nobody = data.mask.clone()
    nobody[0, 1] = False
    hole = replace(data, mask=nobody)
    whole = data[torch.arange(1, 10)]
    a, b = (fit(members(1), x, loop=Loop(max_steps=5, batch_size=4))(SOME) for x in (hole, whole))
    assert torch.equal(a, b)
