"""Our readings inside another trainer's run: the house's own numbers, at the trainer's cadence,
resumed without doubles.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_watch_trl import PROMPTS, tiny, tokenizer
from transformers import TrainerControl

from assay.core.rng import Rng
from assay.engine.checkpoint import load
from assay.errors import InputError
from assay.interop.model_state import undisturbed
from assay.interop.trl import ReadingsCallback
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.records.runs import Run
from assay.report import build

HELD = [{"prompt": p, "want": "good"} for p in PROMPTS[:6]]


def goods(completions: list[str], want: list[str], **_: Any) -> list[float]:
    return [float(c.count(w)) for c, w in zip(completions, want, strict=True)]


def words(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(len(c.split())) for c in completions]


class ByHand:
    """A trainer of sorts, which pushes one word by hand and calls back as Trainer does."""

    def __init__(self, callback: ReadingsCallback, model: Any = None, **args: Any):
        self.callback, self.model = callback, tiny() if model is None else model
        self.state = SimpleNamespace(global_step=0, log_history=[])
        self.args = SimpleNamespace(
            **{
                "temperature": 0.9,
                "max_completion_length": 6,
                "seed": 0,
                "learning_rate": 0.1,
                "eval_strategy": "no",
                **args,
            }
        )
        self.control = TrainerControl()

    def begin(self) -> ByHand:
        self.callback.on_train_begin(
            self.args, self.state, self.control, model=self.model, processing_class=tokenizer()
        )
        return self

    def train(self, until: int, end: bool = True) -> ByHand:
        while self.state.global_step < until:
            self.state.global_step += 1
            t = self.state.global_step
            with torch.no_grad():
                self.weight()[2] += 0.3 * torch.ones(16)
            self.callback.on_step_end(self.args, self.state, self.control)
            if t % 2 == 0:
                self.state.log_history.append({"reward": 0.1 * t, "kl": 0.01, "step": t})
                self.callback.on_log(self.args, self.state, self.control)
        if end:
            self.callback.on_train_end(self.args, self.state, self.control)
        return self

    def weight(self) -> torch.Tensor:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return dict(self.model.named_parameters()).get("lm_head.weight", trained[-1])


def callback(folder: Path, **more: Any) -> ReadingsCallback:
    return ReadingsCallback(
        HELD, **{"folder": folder, "gold": goods, "proxy": words, "eval_generations": 3, **more}
    )


def test_a_reading_is_the_house_s_own(tmp_path: Path) -> None:
    hand = ByHand(callback(tmp_path / "run"))
    hand.model.train()
    before = torch.random.get_rng_state()
    hand.begin().train(5)
    assert torch.equal(before, torch.random.get_rng_state()), (
        "the trainer's random stream is its own"
    )
    assert hand.model.training, "and its mode"
    run = Run.open(tmp_path / "run")
    readings = run.readings()
    assert [(r["step"], r["tag"]) for r in readings] == [
        (0, "reference"),
        (2, ""),
        (4, ""),
        (5, ""),
    ]
    assert (
        run.about["state"] == "done"
        and run.about["golds"] == ["goods"]
        and run.about["rewards"] == ["words"]
    )
    assert (
        abs(readings[0]["kl"]) < 1e-6
        and 0 < readings[1]["kl"] < readings[3]["kl"]
        and readings[3]["kl_kind"] == "sampled"
    )
    assert readings[2]["stats"]["trl/kl"] == 0.01 and readings[2]["stats"][
        "trl/reward"
    ] == pytest.approx(0.4)
    first, last = (
        Causal(Pretrained(m), Tokens(tokenizer(), size=16, ends=[1]), temperature=0.9, max_tokens=6)
        for m in (tiny(), hand.model)
    )
    held = first.vocabulary.prompts([r["prompt"] for r in HELD])
    x = last.sample(held, 3, Rng(0)("read")("same"))
    assert readings[3]["kl"] == pytest.approx(float(last.kl(first, x).mean()), rel=1e-5)
    assert readings[3]["gold"] == pytest.approx(
        sum(t.count("good") for ts in x.text() for t in ts) / 18
    )
    assert readings[3]["proxy"] == pytest.approx(
        sum(len(t.split()) for ts in x.text() for t in ts) / 18
    )
    assert len(run.samples()) == 6 * 4 and "GRPO" not in run.about["recipe"]
    assert "gold" in build([tmp_path / "run"], tmp_path / "r.html").read_text("utf-8")


def test_it_goes_on_from_a_checkpoint_and_makes_no_reading_twice(tmp_path: Path) -> None:
    ByHand(callback(tmp_path / "whole")).begin().train(6)
    part = ByHand(callback(tmp_path / "part")).begin().train(4, end=False)  # killed after step 4
    again = ByHand(callback(tmp_path / "part"))
    again.model.load_state_dict({k: v.clone() for k, v in part.model.state_dict().items()})
    with torch.no_grad():
        again.weight()[2] -= 2 * 0.3 * torch.ones(16)  # the checkpoint is of step 2
    again.state.global_step, again.state.log_history = 2, part.state.log_history[:1]
    again.begin().train(6)
    one, two = (Run.open(tmp_path / name).readings() for name in ("whole", "part"))
    assert [r["step"] for r in two] == [0, 2, 4, 6]
    for a, b in zip(one, two, strict=True):
        assert all(a[k] == pytest.approx(b[k], rel=1e-5) for k in ("kl", "gold", "proxy", "n"))
    assert load(tmp_path / "part" / "reference.safetensors")["lm_head.weight"].shape == (16, 16)


@pytest.mark.parametrize(
    ("more", "args", "steps"),
    [
        ({"eval_steps": 3}, {}, [0, 3, 5]),
        ({}, {"eval_strategy": "steps"}, [0, 5]),
        ({"proxy": None}, {}, [0, 2, 4, 5]),
    ],
)
def test_cadence(
    tmp_path: Path, more: dict[str, Any], args: dict[str, Any], steps: list[int]
) -> None:
    hand = ByHand(callback(tmp_path / "run", **more), **args).begin().train(5)
    hand.callback.on_evaluate(hand.args, hand.state, hand.control)
    readings = Run.open(tmp_path / "run").readings()
    assert [r["step"] for r in readings] == steps
    if "proxy" in more:
        assert [r["proxy"] for r in readings] == [
            None,
            pytest.approx(0.2),
            pytest.approx(0.4),
            pytest.approx(0.4),
        ]


def test_with_adapters_the_reference_is_their_first_weights_put_back(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    torch.manual_seed(1)
    model = peft.get_peft_model(
        tiny(), peft.LoraConfig(r=1, target_modules=["q_proj"], init_lora_weights=False)
    )
    hand = ByHand(callback(tmp_path / "run"), model).begin()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in load(tmp_path / "run" / "reference.safetensors").values()) == sum(
        p.numel() for p in trained
    )
    with torch.no_grad():
        for p in trained:
            p += 2.0
    now = [p.clone() for p in trained]
    hand.state.global_step = 2
    hand.callback.on_train_end(hand.args, hand.state, hand.control)
    readings = Run.open(tmp_path / "run").readings()
    assert abs(readings[0]["kl"]) < 1e-6 and readings[1]["kl"] > 1e-4
    assert all(torch.equal(a, b) for a, b in zip(now, trained, strict=True)), (
        "what is trained is as it was"
    )


def test_a_name_where_a_list_is_wanted_is_one_name(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(
        "def words(completions, **_):\n    return [float(len(c.split())) for c in completions]\n"
    )
    folder = tmp_path / "run"
    ByHand(
        ReadingsCallback(HELD, folder=folder, rewards=f"{tmp_path / 'judge.py'}:words")
    ).begin().train(2)
    assert Run.open(folder).about["rewards"] == ["words"]
    with pytest.raises(InputError, match="prompts is the text 'w1 w2'; give a list"):
        ReadingsCallback("w1 w2", folder=folder)


def test_a_world_brings_its_prompts_gold_and_reference(tmp_path: Path) -> None:
    import json

    from assay.worlds import hub

    tiny().save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "asks.jsonl").write_text("\n".join(json.dumps(r) for r in HELD), encoding="utf-8")
    (tmp_path / "judges.py").write_text(
        "def goods(completions, want, **_):\n"
        "    return [float(c.count(w)) for c, w in zip(completions, want)]\n"
    )
    world = hub.world(
        policy=str(tmp_path / "model"),
        prompts=str(tmp_path / "asks.jsonl"),
        held_out=4,
        max_tokens=6,
        temperature=0.9,
        gold=f"{tmp_path / 'judges.py'}:goods",
    )
    ByHand(
        ReadingsCallback(world=world, folder=tmp_path / "run", eval_generations=3)
    ).begin().train(2)
    readings = Run.open(tmp_path / "run").readings()
    assert (
        [r["n"] for r in readings] == [12, 12]
        and abs(readings[0]["kl"]) < 1e-6
        and readings[1]["kl"] > 0
    )
    assert (
        readings[1]["gold"] is not None
        and not (tmp_path / "run" / "reference.safetensors").exists()
    )


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give prompts, or a world"):
        ReadingsCallback([], folder=tmp_path)
    with pytest.raises(
        InputError, match="row 0 of the readings' prompts has no prompt, but question"
    ):
        ByHand(ReadingsCallback([{"question": "w1"}], folder=tmp_path / "run")).begin()
    with pytest.raises(InputError, match="divides the model's weights"):
        ByHand(callback(tmp_path / "run"), fsdp="full_shard").begin()


def test_dropout_is_put_back() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(2, 2)).train()
    with undisturbed(model):
        model.eval()
        model[0].p = 0.0
    assert model.training and model[0].training and model[0].p == 0.3
