"""A fitted reward in plain transformers: the same scores, whole or by adapters, in every family;
and a policy by DoRA.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, checkpoint
from test_rewards_fit_models import ASKS, base, pairs

from assay import cli
from assay.errors import InputError
from assay.records.best import last
from assay.records.runs import Run
from assay.rewards.fit_file import fit
from assay.rewards.load import load_reward
from assay.rewards.row_tokens import encode

transformers = pytest.importorskip("transformers")
TEXTS = ["good 1", "the answer is bad is bad is poor", "fine"]


def opened(folder: Path, rows: list[Any]) -> torch.Tensor:
    """Scores by transformers alone, one row at a time."""
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    model.eval()
    scores = []
    for row in rows:
        ids = torch.tensor([row.ids])
        of = (torch.arange(len(row.ids)) >= row.start).long()[None]
        kinds = {"token_type_ids": of} if model.config.model_type == "bert" else {}
        with torch.no_grad():
            scores.append(
                model(input_ids=ids, attention_mask=torch.ones_like(ids), **kinds).logits[0, 0]
            )
    return torch.stack(scores)


@pytest.mark.parametrize("lora", [0, 3])
@pytest.mark.parametrize("family", [*FAMILIES, "bert"])
def test_a_fitted_reward_scores_the_same_in_plain_transformers(
    tmp_path: Path, family: str, lora: int
) -> None:
    if lora:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    here = tmp_path / family
    here.mkdir()
    model = base(here / "base", "bert") if family == "bert" else checkpoint(here / "base", family)
    before = torch.get_rng_state()
    fit(
        pairs(here / "p.jsonl", 12),
        base=str(model),
        out=here / "R",
        members=1,
        folds=0,
        epochs=2,
        batch_size=4,
        learning_rate=5e-3,
        lora=lora,
    )
    assert torch.equal(before, torch.get_rng_state())
    reward = load_reward(here / "R")
    rows = [encode(reward.encoder, reward.template, a, t) for a, t in zip(ASKS, TEXTS, strict=True)]
    assert (opened(here / "R" / "judge0", rows) - reward.scores(ASKS, TEXTS)[0]).abs().max() < 1e-6
    assert len(set(reward.scores(ASKS, TEXTS)[0].tolist())) == 3
    assert not list((here / "R").rglob("adapter*")), "adapters are merged"


@pytest.mark.full
def test_adapters_learn_and_move_little_but_the_head(tmp_path: Path) -> None:
    """Merged, the difference from the base has the adapter's rank; embeddings stand still."""
    pytest.importorskip("peft", reason="the lora extra is not installed")
    model = base(tmp_path / "base", "bert")
    found = fit(
        pairs(tmp_path / "p.jsonl"),
        base=str(model),
        out=tmp_path / "R",
        members=2,
        folds=2,
        epochs=25,
        batch_size=8,
        learning_rate=2e-2,
        lora=2,
    )
    assert found["accuracy"]["mean"] > 0.75 and found["arguments"]["lora"] == 2
    scores = load_reward(tmp_path / "R").scores(ASKS, TEXTS)
    assert not torch.allclose(scores[0], scores[1]), "members have heads and orders of their own"
    start = transformers.AutoModel.from_pretrained(model).state_dict()
    end = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "R" / "judge0"
    ).bert.state_dict()
    moved = 0
    for name, w in start.items():
        if "pooler" in name:
            continue
        gap = end[name] - w
        if w.dim() == 2 and "embeddings" not in name:
            s = torch.linalg.svdvals(gap)
            assert float(s[2]) < 1e-4 * max(float(s[0]), 1e-2)
            moved += int(float(s[0]) > 1e-3)
        else:
            assert torch.equal(end[name], w)
    assert moved > 4


def test_refusals(tmp_path: Path) -> None:
    file = pairs(tmp_path / "p.jsonl")
    model = str(base(tmp_path / "base", "bert"))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"base": "words", "lora": 2}, "--base words has no layers"),
        ({"lora": -1}, "--lora is -1"),
        ({"lora": 2, "frozen": True}, "give one of the two"),
    ]
    for options, said in cases:
        arguments: dict[str, Any] = {"base": model, "out": tmp_path / "R", **options}
        with pytest.raises(InputError, match=said):
            fit(file, **arguments)


@pytest.mark.full
def test_a_policy_by_dora_and_in_bfloat16_is_exported(tmp_path: Path) -> None:
    """--peft with DoRA; --dtype bfloat16 with all weights: the folder's log-probabilities are
    the policy's.
    """
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    policy = checkpoint(tmp_path / "m", "llama")
    asks = [
        {"prompt": f"what is {w}?", "answer": w}
        for w in ("rain", "the mill", "a gate", "pond", "tea", "red", "blue", "it")
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(a) + "\n" for a in asks))
    peft.LoraConfig(
        r=2, lora_alpha=4, use_dora=True, target_modules=["q_proj", "down_proj"]
    ).save_pretrained(tmp_path / "dora")
    from assay.core import Rng
    from assay.engine import checkpoint as carry
    from assay.worlds import hub

    for name, how in (("dora", {"peft": str(tmp_path / "dora")}), ("bf16", {"dtype": "bfloat16"})):
        given: dict[str, Any] = {
            "policy": str(policy),
            "prompts": str(tmp_path / "p.jsonl"),
            "held_out": 3,
            "max_tokens": 5,
            "gold": "match:answer",
            "rewards": ("match:answer",),
            **how,
        }
        spelled = [
            w
            for k, v in given.items()
            for w in (
                f"--world.{k.replace('_', '-')}",
                v if isinstance(v, str) else ",".join(v) if isinstance(v, tuple) else str(v),
            )
        ]
        assert (
            cli.main(
                [
                    "run",
                    "kl_in_loss",
                    "--world",
                    "hub",
                    *spelled,
                    "--max-steps",
                    "2",
                    "--batch-size",
                    "2",
                    "--num-generations",
                    "2",
                    "--eval-generations",
                    "2",
                    "--eval-steps",
                    "1",
                    "--learning-rate",
                    "0.01",
                    "--out",
                    str(tmp_path / name / "run"),
                ]
            )
            == 0
        )
        assert (
            cli.main(
                [
                    "export",
                    str(tmp_path / name / "run"),
                    "--out",
                    str(tmp_path / name / "out"),
                    "--last",
                ]
            )
            == 0
        )
        card = (tmp_path / name / "out" / "README.md").read_text()
        assert "verifier" in card and "## Measured" in card
        made: Any = hub.world(**given).task.reference.copy()
        end = last(Run.open(tmp_path / name / "run"))["file"]
        made.load_state_dict(carry.load(tmp_path / name / "run" / str(end)))
        x = made.sample(made.vocabulary.prompts(["what is rain?"]), 2, Rng(1))
        plain = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / name / "out", dtype="auto"
        )
        assert plain.dtype == (torch.bfloat16 if name == "bf16" else torch.float32)
        row = torch.cat([x.prompts.tokens[0], x.action[0, 0][x.mask[0, 0]]])
        with torch.no_grad():
            logits = (
                plain(input_ids=row[None]).logits[0, x.prompts.tokens.shape[1] - 1 : -1].float()
            )
            logits[:, list(made.vocabulary.barred)] = -torch.inf
            theirs = logits.log_softmax(-1).gather(1, x.action[0, 0][x.mask[0, 0]][:, None])[:, 0]
            assert (theirs - made.logp(x)[0, 0][x.mask[0, 0]]).abs().max() < (
                0.1 if name == "bf16" else 1e-5
            )
