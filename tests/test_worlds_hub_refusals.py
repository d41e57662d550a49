"""World hub, given what is wrong in ways that transformers and Python say nothing useful about, or
nothing at all.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint, model, tokenizer

from assay import cli
from assay.core import InputError
from assay.models.backbones.pretrained import Pretrained
from assay.rewards.load import open_reward
from assay.worlds.device import check_positions, device_named, dtype_named, open_model

JUDGES = """
import sys
def words(prompts, completions, **columns):
    return [float(len(c.split())) for c in completions]
def broken(prompts, completions, **columns):
    return [1 / 0 for c in completions]
def leaves(prompts, completions, **columns):
    sys.exit(3)
def needs(prompts, completions, wnat, **columns):
    return [0.0] * len(completions)
def named(prompts, completions, wnat):
    return [0.0] * len(completions)
def spare(prompts, completions, wnat="here"):
    return [float(wnat == "here")] * len(completions)
def some(prompts, completions):
    return [None if i % 2 else 1.0 for i in range(len(completions))]
"""


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    rows = [
        {"prompt": f"please tell me about the {a}", "want": a}
        for a in ("mill", "gate", "pond", "river", "day", "walk")
    ]
    (tmp_path / "asks.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    (tmp_path / "judges.py").write_text(JUDGES, encoding="utf-8")
    return [
        "run",
        "leave_one_out",
        "--world",
        "hub",
        "--world.policy",
        str(checkpoint(tmp_path / "model", "llama")),
        "--world.prompts",
        str(tmp_path / "asks.jsonl"),
        "--held-out",
        "2",
        "--max-tokens",
        "4",
        "--max-steps",
        "1",
        "--batch-size",
        "2",
        "--num-generations",
        "2",
        "--eval-generations",
        "2",
        "--out",
        str(tmp_path / "run"),
    ]


def said(flags: list[str], more: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a refusal, which leaves no folder behind."""
    assert cli.main([*flags, *more]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err and not Path(flags[-1]).exists()
    return err.strip().splitlines()[-1]


def test_what_a_function_raises_is_a_sentence_with_its_line(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judges = tmp_path / "judges.py"
    told = said(flags, ["--world.rewards", f"{judges}:broken"], capsys)
    assert f"reward broken raised ZeroDivisionError at line 6 of {judges}: division by zero" in told
    assert "reward leaves raised SystemExit at line 8" in said(
        flags, ["--world.rewards", f"{judges}:leaves"], capsys
    )
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    assert "SystemExit at line 2" in said(
        flags, ["--world.rewards", f"{tmp_path / 'ends.py'}:f"], capsys
    )


def test_a_column_that_a_function_needs_is_looked_for_first(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judges = tmp_path / "judges.py"
    told = said(flags, ["--world.rewards", f"{judges}:needs"], capsys)
    assert "reward needs needs a column 'wnat'" in told and "did you mean want?" in told
    assert "reward named needs a column 'wnat'" in said(
        flags, ["--world.rewards", f"{judges}:named"], capsys
    )
    assert cli.main([*flags, "--world.rewards", f"{judges}:spare"]) == 0, (
        "a default stands where there is no such column"
    )
    assert (
        json.loads((tmp_path / "run" / "readings.jsonl").read_text().splitlines()[0])["proxy"]
        == 1.0
    )


def test_gold_that_does_not_apply_is_counted(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judges = tmp_path / "judges.py"
    told = said(
        flags, ["--world.rewards", f"{judges}:words", "--world.gold", f"{judges}:some"], capsys
    )
    assert "gold of world hub (some) is no finite number for 2 of 4 completions" in told


def test_weights_that_are_not_there_are_not_drawn_at_random(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A causal model whose config says one label, and a classifier as a policy: transformers opens
    both with a random head.
    """
    from transformers import AutoModelForSequenceClassification

    headless = checkpoint(tmp_path / "headless", "llama")
    about: dict[str, Any] = json.loads((headless / "config.json").read_text(encoding="utf-8"))
    (headless / "config.json").write_text(
        json.dumps({**about, "id2label": {"0": "good"}, "label2id": {"good": 0}})
    )
    with pytest.raises(
        InputError, match=r"its files lack score\.weight, so that random numbers would stand in"
    ):
        open_reward(str(headless), "world.rewards")
    for name, rows in (("classifier", 314), ("narrow", 250)):
        config = model("llama", vocabulary=rows).config
        config.num_labels = 1
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    assert open_reward(str(tmp_path / "classifier"), "world.rewards").names == ("classifier",)
    with pytest.raises(InputError, match=r"its files lack lm_head\.weight"):
        open_model(str(tmp_path / "classifier"), dtype_named("float32")[0], 0, device_named("cpu"))
    with pytest.raises(InputError, match="tokens and a model of 250: they do not belong together"):
        open_reward(str(tmp_path / "narrow"), "world.rewards")
    assert "nothing is there" in said(
        flags,
        ["--peft", str(tmp_path / "nowhere"), "--rewards", str(tmp_path / "classifier")],
        capsys,
    )
    assert (
        open_model(
            str(checkpoint(tmp_path / "tied", "gpt2")),
            dtype_named("float32")[0],
            0,
            device_named("cpu"),
        )
        is not None
    )


def test_a_template_that_opens_no_answer_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where what stands before an assistant's words is not at the end of a prompt, answers begin
    without it.
    """
    from assay.worlds.chat_template import warn_without_generation_prompt

    made = tokenizer()
    own = made.chat_template
    bare = (
        "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>"
        "{% endfor %}"
    )
    inst = (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ "
        "m['content'] }} [/INST]{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
    )
    try:
        for template, warned in ((own, False), (bare, True), (inst, False)):
            made.chat_template = template
            caplog.clear()
            with caplog.at_level(logging.WARNING, logger="assay"):
                warn_without_generation_prompt(made)
            assert ("'<|assistant|>'" in caplog.text) == warned
    finally:
        made.chat_template = own


def test_a_run_goes_on_with_what_it_began_with(
    flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Other weights of the same shape would be merged, or trained on, and nothing would show it."""
    assert cli.main([*flags, "--world.rewards", f"{tmp_path / 'judges.py'}:words"]) == 0
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["inputs"]
    assert {p for p in kept if not p.startswith(f"{tmp_path / 'model'}/")} == {
        str(tmp_path / n) for n in ("model", "asks.jsonl", "judges.py")
    }
    out = ["export", str(tmp_path / "run"), "--out"]
    (tmp_path / "judges.py").write_text(JUDGES + "\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="assay"):
        assert cli.main([*out, str(tmp_path / "same")]) == 0
    assert "judges.py changed since the run began (sha256 " in caplog.text
    checkpoint(tmp_path / "model", "llama", seed=1)
    capsys.readouterr()
    for line in (
        [*out, str(tmp_path / "other")],
        ["run", "--resume", "--out", str(tmp_path / "run")],
    ):
        assert cli.main(line) == 2
        assert f"{tmp_path / 'model'}/model.safetensors changed since" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_flag_that_a_faulty_row_advises_leaves_it_out(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real preferences have empty answers."""
    rows = [
        {"prompt": "what is the weather like?", "chosen": c, "rejected": "no"} for c in ("yes", "")
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    more = ["--world.pairs", str(tmp_path / "pairs.jsonl")]
    more += ["--rewards", f"{tmp_path / 'judges.py'}:words"]
    told = said(flags, more, capsys)
    assert "line 2, column 'chosen': an empty completion" in told and "with --drop" in told
    capsys.readouterr()
    assert cli.main([*flags, *more, "--drop"]) == 0


def test_positions_that_the_longest_row_of_a_pass_turns_are_refused() -> None:
    """With longrope a short row beside a long one is another row: its log-probabilities move."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

    size: dict[str, Any] = {
        "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48, "max_position_embeddings": 128, "pad_token_id": 0,
    }  # fmt: skip
    turns = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4,
             "long_factor": [3.0] * 4}  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        long = AutoModelForCausalLM.from_config(
            Phi3Config(**size, rope_parameters=turns, original_max_position_embeddings=16)
        ).eval()
    states = Pretrained(long)
    with torch.no_grad():
        for parameter in long.parameters():
            parameter.mul_(3.0)
        rows = torch.arange(3, 51).view(2, 24)
        for length, moves in ((16, False), (24, True)):
            kept = torch.arange(24) < torch.tensor([[6], [length]])
            beside = states.rows(rows, kept)[0, :6]
            alone = states.rows(rows[:1, :6], kept[:1, :6])[0]
            assert bool((beside - alone).abs().max() > 1e-2) is moves
    check_positions("long", long, 12, 4)
    with pytest.raises(InputError, match="long has positions for 16 tokens, and .* need 17"):
        check_positions("long", long, 12, 5)
    check_positions("plain", AutoModelForCausalLM.from_config(LlamaConfig(**size)), 100, 28)
