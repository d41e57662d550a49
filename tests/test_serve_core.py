"""Scoring without HTTP: alone or among others a score is the same, and a failure stays its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import tokenizer

from assay.errors import InputError
from assay.loops.scoring import aggregator
from assay.rewards.fit_file import fit
from assay.rewards.function import FunctionReward
from assay.rewards.load import open_reward
from assay.rewards.score_file import score
from assay.serve.core import Scorer, Stacking
from assay.serve.item import Item, Score

TEXTS = ["no", "the old mill by the river", "it rains, and then it does not; we walk home " * 6, ""]
ASKS = ["what is the weather like?", "please tell me about the pond", "go on", "why?"]


def length(prompts: list[str], completions: list[str]) -> list[float | None]:
    if "raise" in completions:
        raise KeyError("a secret of the server")
    return [None if c == "none" else float(len(c)) for c in completions]


def quarter(prompts: list[str], completions: list[str]) -> list[float]:
    return [len(c) / 4 for c in completions]


def right(prompts: list[str], completions: list[str], answer: list[str]) -> list[float]:
    return [float(c == a) for c, a in zip(completions, answer, strict=True)]


def of(*functions: Any, **how: Any) -> Scorer:
    return Scorer([FunctionReward(f, f.__name__) for f in functions], Stacking(**how))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A decoder with one label, a chat template and room for 40 tokens."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_labels=1, pad_token_id=2, max_position_embeddings=96,
        initializer_range=0.5,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("fit")
    pairs = folder / "pairs.jsonl"
    rows = [
        {"prompt": f"p{i}", "chosen": f"{TEXTS[1]} {i}", "rejected": f"no {i}"} for i in range(12)
    ]
    pairs.write_text("".join(json.dumps(r) + "\n" for r in rows))
    fit(pairs, out=folder / "reward", members=3, folds=0)
    return str(folder / "reward")


@pytest.mark.parametrize("kind", ["words", "classifier"])
def test_a_score_is_the_same_alone_in_a_batch_and_offline(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(kind)
    scorer = Scorer([open_reward(folder, "rewards")])
    items = [Item(a, c) for a in ASKS for c in TEXTS]
    batch = scorer.score(items)
    alone = [scorer.score([x])[0] for x in items]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"prompt": x.prompt, "completion": x.completion}) + "\n" for x in items)
    )
    score(folder, rows, tmp_path / "out.jsonl")
    offline = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    values = torch.tensor([s.value for s in batch])
    assert len(set(values.tolist())) > 3  # these texts can be told apart
    torch.testing.assert_close(values, torch.tensor([s.value for s in alone]))
    torch.testing.assert_close(values, torch.tensor([r["proxy"] for r in offline]))
    each = torch.tensor([s.members for s in batch])
    torch.testing.assert_close(each, torch.tensor([r["proxy_members"] for r in offline]))


def test_a_row_that_raises_fails_alone_and_tells_no_secret() -> None:
    completions = ["a", "none", "raise", "abcd", "raise", "ab"]
    found = of(length).score([Item("p", c) for c in completions])
    assert [s.value for s in found] == [1.0, None, None, 4.0, None, 2.0]
    assert [bool(s.error) for s in found] == [False, False, True, False, True, False]
    assert "secret" not in found[2].error and "length" in found[2].error


def test_columns_of_other_items_change_nothing() -> None:
    items = [
        Item("p", "x", {"answer": "x"}),
        Item("p", "x", {"answer": "x", "label": 1}),
        Item("p", "x"),
        Item("p", "x", {"answer": "y"}),
    ]
    found = of(right).score(items)
    assert [s.value for s in found] == [1.0, 1.0, None, 0.0]
    assert found[2].error == "reward right needs a column 'answer'"
    assert "rename" in of(right).score([Item("p", "x", {"prompts": "y"})])[0].error


@pytest.mark.parametrize("name", ["mean", "worst", "uncertainty:0.5", "quantile:0.25"])
def test_members_are_joined_as_the_aggregate_says(name: str) -> None:
    found = of(length, quarter, aggregate=name, spread_limit=5.0).score(
        [Item("p", "a" * 10), Item("p", "a" * 20), Item("p", "none")]
    )
    raw = torch.tensor([[10.0, 20.0], [2.5, 5.0]], dtype=torch.float64)
    assert [s.value for s in found[:2]] == pytest.approx(aggregator(name)(raw[:, None])[0].tolist())
    assert [s.members for s in found] == [(10.0, 2.5), (20.0, 5.0), (None, 1.0)]
    assert [s.spread for s in found] == [3.75, 7.5, None]
    assert [s.out_of_distribution for s in found] == [False, True, None]
    assert not found[2].error  # a reward that returns None does not apply


def test_references_are_texts_or_scores_of_the_item_itself() -> None:
    scorer = of(length, shape="par", references="refs")
    items = [
        Item("p", "abc", {"refs": [1, 5]}),
        Item("p", "abc", {"refs": ["a", "abcde"]}),
        Item("p", "abc"),
        Item("p", "abc", {"refs": ["raise"]}),
        Item("p", "abc", {"refs": [True]}),
    ]
    found = scorer.score(items)
    want = float(torch.sigmoid(torch.tensor([2.0, -2.0])).mean())
    assert [s.value for s in found[:2]] == pytest.approx([want, want])
    assert [s.value for s in found[2:]] == [None] * 3 and all(s.error for s in found[2:])
    with pytest.raises(InputError, match="must not depend on the other completions"):
        of(length, shape="par", references="group")


def test_a_whole_text_is_read_with_its_special_tokens(classifier: str) -> None:
    scorer = Scorer([open_reward(classifier, "rewards")])
    ask, said = [{"role": "user", "content": ASKS[0]}], TEXTS[1]
    whole = f"<s><|user|>{ASKS[0]}<|end|><|assistant|>{said}<|end|>"
    parts, text, both = scorer.score(
        [Item(ask, said), Item("", "", text=whole), Item(whole[:20], "other", text=whole)]
    )
    assert [text.value, both.value] == pytest.approx([parts.value] * 2, rel=1e-5)
    assert of(length).score([Item("", "", text="abc"), Item("p", "a", text="abc")])[1].value == 1.0


def test_what_is_cut_and_what_is_not_finite_is_told(classifier: str) -> None:
    found = Scorer([open_reward(classifier, "rewards")]).score([Item(a, TEXTS[2]) for a in ASKS])
    assert all(s.truncated and s.value is not None for s in found)

    class Broken(FunctionReward):
        partial = False

        def scores(self, prompts: Any, *_: Any) -> torch.Tensor:
            return torch.tensor([[float("nan"), float("inf"), 1.0][: len(prompts)]])

    bad: list[Score] = Scorer([Broken(length, "b")]).score([Item("p", c) for c in "abc"])
    assert [s.value for s in bad] == [None, None, 1.0]
    assert [bool(s.error) for s in bad] == [True, True, False]
    assert Scorer([Broken(length, "b")]).score([]) == []
