"""`assay.train` with open models, functions and rows from Python; `assay.open_run` and resuming."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

import assay
from assay import cli
from assay.api.weights import weights_digest
from assay.core import InputError, Loop, Step, Task
from assay.errors import Collapsed
from assay.loops import online, proxy_score
from assay.registry.functions import function_name

PROMPTS = [f"please tell me about the {a} {b}" for a in ("old", "new", "grey") for b in "abcd"]
SMALL: dict[str, Any] = {
    "max_steps": 3,
    "batch_size": 3,
    "num_generations": 3,
    "max_tokens": 6,
    "held_out": 4,
    "eval_steps": 1,
    "eval_generations": 2,
    "learning_rate": 1e-3,
    "quiet": True,
}


def words(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """A reward that other modules can import."""
    return [float(len(c.split())) for c in completions]


def letters(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(c.count("e")) for c in completions]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    found = AutoModelForCausalLM.from_pretrained(checkpoint(tmp_path / "model", "llama"))
    found.train()
    next(found.parameters()).requires_grad_(False)
    return found


def test_an_open_model_is_left_as_it_was(model: Any) -> None:
    """Its weights, its mode, its device and what it trains: nothing changes, and it is trained."""
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trained = [p.requires_grad for p in model.parameters()]
    run = assay.train("leave_one_out", model=model, prompts=PROMPTS, rewards=words, **SMALL)
    assert model.training and [p.requires_grad for p in model.parameters()] == trained
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert run.state == "done" and [r["step"] for r in run.readings] == [0, 1, 2, 3]
    after = run.last_policy.model.state_dict()
    assert any(not torch.equal(after[k], v) for k, v in before.items())


def test_a_peft_model_starts_from_its_adapter(model: Any) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, init_lora_weights=False))
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        wrapped.eval()
        own = wrapped(ids).logits
        run = assay.train(
            "leave_one_out", model=wrapped, prompts=PROMPTS, rewards=words, **SMALL, gold=letters
        )
        torch.testing.assert_close(wrapped(ids).logits, own, rtol=0, atol=0)
        reference = run._drive.world.task.reference  # type: ignore[union-attr]
        torch.testing.assert_close(reference.backbone.model(ids).logits, own, rtol=1e-4, atol=1e-4)


def test_functions_rows_and_conversations(model: Any) -> None:
    """Rewards and gold are called with the columns of the rows; a dict names them."""
    asked = []

    def wanted(prompts: Any, completions: Any, want: Any) -> list[float]:
        asked.append((prompts, want))
        return [float(w in c) for c, w in zip(completions, want)]

    rows = [{"prompt": p, "want": "e" if i % 2 else "a"} for i, p in enumerate(PROMPTS)]
    run = assay.train(
        "leave_one_out", model=model, prompts=rows, rewards={"first": wanted, "second": words},
        gold=lambda prompts, completions: [1.0] * len(prompts), **SMALL,
    )  # fmt: skip
    assert run.record.about["rewards"] == ["first", "second"] and asked
    assert run.best is not None and run.best.reading["gold"] == 1.0
    assert run.record.about["world"]["rewards"] == ["python:first", "python:second"]


def test_the_last_policy_in_plain_transformers_scores_as_here(model: Any, tmp_path: Path) -> None:
    run = assay.train(
        "leave_one_out", model=model, prompts=PROMPTS, rewards=words, gold=words, **SMALL
    )
    folder = run.policy.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(folder).eval()
    policy = run.policy._policy
    x = policy.sample(run._drive.world.held_out, 1, assay_rng())  # type: ignore[union-attr]
    here = policy.logp(x)[0, 0]
    ids = torch.cat([x.prompts.tokens[0][x.prompts.mask[0]], x.action[0, 0][x.mask[0, 0]]])[None]
    with torch.no_grad():
        logits = again(ids).logits.log_softmax(-1)[0]
    n = int(x.mask[0, 0].sum())
    at = torch.arange(ids.shape[1] - n, ids.shape[1])
    bars = torch.tensor(policy.vocabulary.barred, dtype=torch.int64)
    kept = logits.index_fill(-1, bars, -torch.inf).log_softmax(-1)
    theirs = kept[at - 1, ids[0, at]]
    torch.testing.assert_close(theirs, here[:n].float(), rtol=1e-4, atol=1e-4)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(run.policy.tokenizer)


def assay_rng() -> Any:
    from assay.core import Rng

    return Rng(0)("test")


def test_generate_reads_texts_and_conversations(model: Any) -> None:
    run = assay.train("leave_one_out", model=model, prompts=PROMPTS, rewards=words, **SMALL)
    policy = run.policy
    assert len(policy.generate("the old")) == 1
    two = policy.generate(["the old", "a new"], n=3)
    assert [len(t) for t in two] == [3, 3]
    assert policy.generate(["the old", "a new"], n=3, batch_size=1) == two
    with pytest.raises(InputError, match=r"prompts\[0\] is neither a text nor a list of messages"):
        policy.generate([3])


def test_a_run_on_disk_goes_on_here_and_on_the_command_line(model: Any, tmp_path: Path) -> None:
    """Killed after two readings, by either face, gone on with by either: the same numbers."""
    given = {**SMALL, "prompts": PROMPTS, "rewards": words, "gold": words, "save_steps": 1}
    given |= {"dtype": torch.float32, "device": torch.device("cpu")}
    whole = assay.train("leave_one_out", model=model, out=tmp_path / "whole", **given)
    for face in ("python", "shell"):
        out = tmp_path / face
        begun = iter(assay.train("leave_one_out", model=model, out=out, stream=True, **given))
        next(begun), next(begun), next(begun)
        begun.close()  # type: ignore[attr-defined]
        if face == "python":
            found = assay.train("leave_one_out", model=model, out=out, resume=True, **given)
        else:
            assert cli.main(["run", "--resume", "--out", str(out), "-q"]) == 0
            found = assay.open_run(out)
        assert found.state == "done"
        timeless = [{**r, "seconds": 0.0} for r in found.readings]
        assert timeless == [{**r, "seconds": 0.0} for r in whole.readings]
    written = (tmp_path / "shell" / "inputs" / "prompts.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in written] == PROMPTS


def test_a_policy_is_loaded_without_the_functions_of_its_run(model: Any, tmp_path: Path) -> None:
    """A notebook's functions are gone with its kernel, and a policy scores nothing."""
    run = assay.train(
        "leave_one_out",
        model=tmp_path / "model",
        prompts=PROMPTS,
        rewards=lambda prompts, completions: [float(len(c)) for c in completions],
        gold=lambda prompts, completions: [float(c.count("e")) for c in completions],
        watch=assay.Watch(labeler=lambda prompts, first, second: [0.5] * len(first), budget=4),
        out=tmp_path / "run",
        **SMALL,
    )
    wanted = run.last_policy.generate(PROMPTS[:2])
    run.policy.save_pretrained(tmp_path / "saved")
    assert "## Measured" in (tmp_path / "saved" / "README.md").read_text()
    assert assay.open_run(tmp_path / "run").last_policy.generate(PROMPTS[:2]) == wanted
    assert cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "exported")]) == 0


def test_other_weights_are_refused(model: Any, tmp_path: Path) -> None:
    given = {**SMALL, "prompts": PROMPTS, "rewards": words, "out": tmp_path / "x", "save_steps": 1}
    begun = iter(assay.train("leave_one_out", model=model, stream=True, **given))
    next(begun), next(begun)
    begun.close()  # type: ignore[attr-defined]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    with pytest.raises(InputError, match="whose weights are not those of this one"):
        assay.train("leave_one_out", model=model, resume=True, **given)


def test_one_value_of_one_weight_makes_another_model(model: Any) -> None:
    """Fine-tuning changes every value; an edit (a row of an embedding, a neuron) changes few."""
    before = weights_digest(model)
    assert weights_digest(copy.deepcopy(model)) == before
    for weight in model.parameters():
        was = weight.detach().clone()
        with torch.no_grad():
            weight.view(-1)[-1] += 1
            assert weights_digest(model) != before
            weight.copy_(was)
    assert weights_digest(model) == before
    assert weights_digest(copy.deepcopy(model).bfloat16()) != before


def test_a_recipe_of_ones_own_is_a_function(model: Any) -> None:
    def halved(task: Task, *, scale: float = 0.5, loop: Loop = Loop()) -> Iterator[Step]:
        """A recipe of mine."""
        proxy = proxy_score(task, 0, "")
        yield from online(task, loop, score=proxy, reward=lambda x: scale * proxy(x))

    run = assay.train(halved, model=model, prompts=PROMPTS, rewards=words, scale=0.25, **SMALL)
    assert run.record.about["recipe"] == "halved"
    assert run.record.about["arguments"] == {"scale": 0.25}
    with pytest.raises(InputError, match="halved in world hub has no scal; did you mean scale"):
        assay.train(halved, model=model, prompts=PROMPTS, rewards=words, scal=0.25, **SMALL)


def test_an_async_reward_may_run_where_a_loop_runs(model: Any) -> None:
    """A notebook's cell runs in a loop."""

    async def score(prompts: list[str], completions: list[str]) -> list[float]:
        await asyncio.sleep(0)
        return [float(len(c)) for c in completions]

    async def cell() -> Any:
        return assay.train(
            "leave_one_out", **{**SMALL, "model": model, "prompts": PROMPTS, "rewards": score}
        )

    assert asyncio.run(cell()).state == "done"


def test_a_function_that_wraps_one_of_a_file_is_not_named_as_that_one() -> None:
    """Another process would import the one that is wrapped."""
    wrapped = functools.wraps(checkpoint)(lambda *given: None)
    assert function_name(checkpoint).endswith("families.py:checkpoint")
    assert function_name(wrapped) == "python:checkpoint"


def test_refusals_speak_python(model: Any) -> None:
    given: dict[str, Any] = {"model": model, "prompts": PROMPTS, "rewards": words}
    for more, said in (
        ({"max_stepps": 3}, "has no max_stepps; did you mean max_steps"),
        ({"held_out": 0, "max_tokens": 0}, "max_tokens"),
        ({"prompts": {"train": 1}}, "prompts is one row; pass a list of rows"),
        ({"prompts": []}, "prompts is empty"),
        ({"rewards": [3]}, "rewards holds a int"),
        ({"model": 3}, "model is a int"),
        ({"resume": True}, "pass out"),
        ({"watch": 3}, "watch is a int"),
        ({"tokenizer": "folder"}, "pass an open one: AutoTokenizer.from_pretrained"),
        ({"model": model.model}, "is a LlamaModel, which has no language-model head"),
    ):
        with pytest.raises(InputError, match=said) as why:
            assay.train("leave_one_out", **{**given, **SMALL, **more})
        assert "--" not in str(why.value)
    with pytest.raises(InputError, match="loop"):
        assay.train(lambda task: iter(()), **given)  # no generator function
    model.name_or_path = model.config._name_or_path = ""
    with pytest.raises(InputError, match="its tokenizer is unknown"):
        assay.train("leave_one_out", **given, **SMALL)


def test_a_policy_is_had_where_the_functions_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell, or another notebook, has the run's folder and none of its Python functions."""

    def here(prompts: list[str], completions: list[str]) -> list[float]:
        return letters(prompts, completions)

    def better(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        return [0.5] * len(first)

    out, base = tmp_path / "run", checkpoint(tmp_path / "base", "llama")
    watch = assay.Watch(labeler=better, budget=4)
    given = {"rewards": here, "gold": here, "watch": watch, **SMALL, "max_steps": 2}
    assay.train("leave_one_out", model=str(base), prompts=PROMPTS, out=out, **given)
    assert assay.open_run(out).policy.generate(["Hi"], max_tokens=2)
    capsys.readouterr()
    assay.open_run(out).policy.save_pretrained(tmp_path / "saved")
    assert capsys.readouterr().err == ""
    assert cli.main(["export", str(out), "--out", str(tmp_path / "exported")]) == 0


def test_a_run_in_memory_that_was_stopped_keeps_its_readings(model: Any) -> None:
    def constant(prompts: list[str], completions: list[str]) -> list[float]:
        return [1.0 for _ in completions]

    given = {**SMALL, "on_collapse": "stop", "collapse_steps": 1, "max_steps": 9, "batch_size": 64}
    with pytest.raises(Collapsed, match="the same reward") as why:
        assay.train("leave_one_out", model=model, prompts=PROMPTS, rewards=constant, **given)
    assert why.value.run.readings and why.value.run.warnings[0]["kind"] == "equal_rewards"
