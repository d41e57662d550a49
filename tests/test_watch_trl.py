"""The watch as a trainer's callback: on a tiny model driven by hand everywhere, inside TRL where
TRL is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerControl

from assay.errors import InputError
from assay.interop.trl import WatchCallback
from assay.records.runs import Run, read_lines
from assay.report import build
from assay.watch.config import WatchConfig

WORDS = ["<pad>", "<eos>", "good", "bad", *(f"w{i}" for i in range(12))]
PROMPTS = [f"w{i} w{j} w{k}" for i in range(12) for j in range(12) for k in range(4)]
CALM = WatchConfig(calm=8, alert=16, reference=0, budget=600)


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            tie_word_embeddings=False,
        )
    )


def good(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
    """The more "good", the better."""
    a, b = ([t.count("good") - t.count("bad") for t in texts] for texts in (first, second))
    return [0.5 if x == y else float(x > y) for x, y in zip(a, b, strict=True)]


class ByHand:
    """A trainer of sorts: it moves one row of the head by hand and calls the callback as Trainer
    does.
    """

    def __init__(self, callback: WatchCallback, steps: int = 30):
        self.callback, self.model, self.tokenizer = callback, tiny(), tokenizer()
        self.state = SimpleNamespace(global_step=0, max_steps=steps, log_history=[])
        self.control = TrainerControl()
        self.args = SimpleNamespace(
            temperature=1.0, eval_strategy="no", eval_steps=None, seed=0, learning_rate=0.1
        )

    def begin(self) -> None:
        self.callback.on_train_begin(
            self.args, self.state, self.control, model=self.model, processing_class=self.tokenizer
        )

    def train(self, push: Any, until: int = 30) -> None:
        while (
            self.state.global_step < min(until, self.state.max_steps)
            and not self.control.should_training_stop
        ):
            self.state.global_step += 1
            t = self.state.global_step
            with torch.no_grad():
                self.model.lm_head.weight[2] = push(t) * self.direction()
            self.state.log_history.append({"reward": 0.1 * t, "kl": 0.01 * t, "step": t})
            self.callback.on_step_end(self.args, self.state, self.control)
        self.callback.on_train_end(self.args, self.state, self.control)

    def direction(self) -> torch.Tensor:
        """What makes "good" likelier after most words."""
        hidden = self.model.model(torch.arange(2, len(WORDS))[None]).last_hidden_state[0].mean(0)
        return hidden / hidden.norm()


def callback(folder: Path, **more: Any) -> WatchCallback:
    return WatchCallback(
        PROMPTS,
        **{
            "by": good,
            "folder": folder,
            "config": CALM,
            "eval_steps": 2,
            "max_tokens": 6,
            "batch_size": 8,
            "say": lambda text: None,
            **more,
        },
    )


def turns(t: int) -> float:
    return 1.2 * min(t, 10) - (2.5 * (t - 12) if t > 12 else 0.0)


def test_it_stops_puts_the_best_weights_back_and_leaves_a_record(tmp_path: Path) -> None:
    hand = ByHand(callback(tmp_path / "run"))
    hand.begin()
    first = hand.model.lm_head.weight.clone()
    before = torch.random.get_rng_state()
    hand.train(turns)
    assert torch.equal(before, torch.random.get_rng_state()), (
        "the trainer's random stream is its own"
    )
    run = Run.open(tmp_path / "run")
    result, watch = run.about["result"]["best"], run.about["result"]["watch"]
    assert watch["stopped"] and hand.control.should_training_stop and 12 < watch["at"] < 30
    assert 2 <= result["step"] < watch["at"] and turns(result["step"]) > turns(watch["at"])
    assert result["chosen_by"] == "watch"
    readings = run.readings()
    assert [r["step"] for r in readings] == list(range(2, watch["at"] + 1, 2))
    assert readings[-1]["watch"]["word"] == "stop" and readings[-1]["proxy"] == pytest.approx(
        0.1 * watch["at"]
    )
    from assay.engine.checkpoint import load

    kept = load(tmp_path / "run" / result["file"])
    assert all(torch.equal(p, kept[k]) for k, p in hand.model.named_parameters())
    assert torch.equal(load(tmp_path / "run" / "kept-0.safetensors")["lm_head.weight"], first)
    labels = read_lines(tmp_path / "run" / "labels.jsonl")
    assert len(labels) == watch["labels"] <= 600
    asked = read_lines(tmp_path / "run" / "questions.jsonl")
    assert len({q["prompt"] for q in asked}) == len(asked), "every prompt once"
    assert "The watch" in build([tmp_path / "run"], tmp_path / "r.html").read_text("utf-8")


def test_it_goes_on_from_a_checkpoint_with_the_same_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ByHand(callback(tmp_path / "whole"))
    whole.begin()
    whole.train(turns)
    part = ByHand(callback(tmp_path / "part"))
    part.begin()
    part.callback.on_train_end = lambda *a, **k: None  # type: ignore[method-assign]  # killed, not ended
    part.train(turns, until=9)
    paid: list[int] = []
    plain = good

    def counted(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        paid.append(len(prompts))
        return plain(prompts, first, second)

    counted.__name__ = counted.__qualname__ = "good"  # labels are known by who gave them
    monkeypatch.setattr(sys.modules[__name__], "good", counted)
    again = ByHand(callback(tmp_path / "part", by=counted))
    again.state.global_step = (
        5  # the last checkpoint is older than the last look: looks 6 and 8 are made again, unpaid
    )
    again.begin()
    assert paid == [1], "a trial call, which is no label"
    paid.clear()
    known = len(read_lines(tmp_path / "part" / "labels.jsonl"))
    again.train(turns)
    one, two = (Run.open(tmp_path / name) for name in ("whole", "part"))
    assert [r["watch"] for r in one.readings()] == [r["watch"] for r in two.readings()]
    assert (
        len(read_lines(tmp_path / "part" / "labels.jsonl"))
        == known + sum(paid)
        == one.about["result"]["watch"]["labels"]
    )


def test_people_stop_the_training_until_they_have_answered(tmp_path: Path) -> None:
    from assay.watch.labelers.people import LabelStore

    said: list[str] = []
    hand = ByHand(callback(tmp_path / "run", by="page", say=said.append), steps=2)
    hand.begin()
    hand.train(turns)
    assert (
        hand.control.should_save
        and hand.control.should_training_stop
        and "8 pairs wait" in said[-1]
    )
    assert Run.open(tmp_path / "run").about["state"] == "waiting"
    store = LabelStore(tmp_path / "run")
    for pair in store.waiting():
        store.label(pair, "tie", "me")
    again = ByHand(callback(tmp_path / "run", by="page", say=said.append), steps=2)
    again.model, again.state.global_step = hand.model, 2
    again.begin()
    assert [r["step"] for r in Run.open(tmp_path / "run").readings()] == [2]
    assert Run.open(tmp_path / "run").readings()[0]["watch"]["win"] == 0.5


def test_prompts_that_say_the_same_are_one_prompt(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "one"}]
    assert (
        WatchCallback(
            [said, "two", [dict(said[0])], "two"], by=good, folder=tmp_path
        ).comparisons.prompts_left(0)
        == 2
    )


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompts is the text 'w1 w2'; give a list"):
        WatchCallback("w1 w2", by=good, folder=tmp_path)
    with pytest.raises(InputError, match="prompts of its own"):
        WatchCallback([], by=good, folder=tmp_path)
    hand = ByHand(callback(tmp_path / "run", eval_steps=0))
    with pytest.raises(InputError, match="this trainer makes none: give WatchCallback eval_steps="):
        hand.begin()


@pytest.mark.filterwarnings("default")
def test_inside_trl(tmp_path: Path) -> None:
    """GRPO on a tiny model: the watch reads, labels and records, and stops a run whose reward likes
    what the judge does not.
    """
    trl = pytest.importorskip("trl", reason="TRL is not installed here")
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"prompt": PROMPTS[:64]})

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(c.count("bad")) for c in completions]

    args = trl.GRPOConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=16,
        num_generations=8,
        max_steps=24,
        max_completion_length=6,
        learning_rate=2e-2,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        beta=0.0,
        seed=0,
        disable_tqdm=True,
    )
    watch = WatchCallback(
        PROMPTS[64:], by=good, folder=tmp_path / "run", config=CALM, eval_steps=2, max_tokens=6
    )
    trainer = trl.GRPOTrainer(
        model=tiny(),
        reward_funcs=reward,
        args=args,
        train_dataset=data,
        processing_class=tokenizer(),
        callbacks=[watch],
    )
    trainer.train()
    run = Run.open(tmp_path / "run")
    assert (
        run.about["recipe"] == "GRPO"
        and run.about["result"]["watch"]["stopped"]
        and trainer.state.global_step < 24
    )
    assert run.readings()[-1]["proxy"] > run.readings()[0]["proxy"], (
        "the reward rose while the judge's word fell"
    )
    assert run.about["result"]["best"]["step"] < run.about["result"]["watch"]["at"]
