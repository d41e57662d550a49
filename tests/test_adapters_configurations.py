"""A run with an adapter configuration, exported, and read by plain transformers: the policy, token
by token. The reference is the model that the run began with, before and after.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import tokenizer
from test_worlds_hub import ASKS, JUDGES

from assay import cli
from assay.engine import checkpoint as disk
from assay.models.backbones import adapter_config
from assay.records.best import last
from assay.records.runs import Run
from assay.worlds import hub

pytest.importorskip("peft", reason="the lora extra is not installed")

LORA = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8}
LLAMA = {**LORA, "target_modules": ["q_proj", "v_proj"]}
GPT2 = {**LORA, "target_modules": ["c_attn"]}
BOTH = ["q_proj", "v_proj", "embed_tokens", "lm_head"]
SAVED = {"modules_to_save": ["embed_tokens", "lm_head"]}
CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "plain": ("llama", True, LLAMA),
    "a saved adapter's": ("llama", True, {**LLAMA, "inference_mode": True}),
    "head saved, tied": ("llama", True, {**LLAMA, "modules_to_save": ["lm_head"]}),
    "head saved, untied": ("llama", False, {**LLAMA, "modules_to_save": ["lm_head"]}),
    "both saved, tied": ("llama", True, {**LLAMA, **SAVED}),
    "both saved, untied": ("llama", False, {**LLAMA, **SAVED}),
    "embedding targeted, tied": ("llama", True, {**LLAMA, "target_modules": BOTH[:3]}),
    "both targeted, tied": ("llama", True, {**LLAMA, "target_modules": BOTH}),
    "both targeted, untied": ("llama", False, {**LLAMA, "target_modules": BOTH}),
    "DoRA": ("llama", True, {**LLAMA, "use_dora": True}),
    "rsLoRA": ("llama", False, {**LLAMA, "use_rslora": True}),
    "trained tokens, tied": ("llama", True, {**LLAMA, "trainable_token_indices": [5, 9, 40]}),
    "GPT-2": ("gpt2", True, GPT2),
    "GPT-2, both saved": ("gpt2", True, {**GPT2, "modules_to_save": ["wte", "lm_head"]}),
    "GPT-2, embedding targeted": ("gpt2", True, {**GPT2, "target_modules": ["c_attn", "wte"]}),
    "IA3": (
        "llama",
        True,
        {
            "peft_type": "IA3",
            "target_modules": ["k_proj", "down_proj"],
            "feedforward_modules": ["down_proj"],
        },
    ),
}


@functools.cache
def plain(family: str, *, tied: bool) -> Any:
    """A tiny model; its weights are larger than a family's own, so that a wrong one is seen."""
    import transformers

    words = {"vocab_size": len(tokenizer()) + 7, "bos_token_id": 0, "eos_token_id": 1}
    size: dict[str, Any] = (
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
        if family == "gpt2"
        else {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        }
    )
    kind = transformers.GPT2Config if family == "gpt2" else transformers.LlamaConfig
    config = kind(**words, **size, pad_token_id=2, tie_word_embeddings=tied)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = transformers.AutoModelForCausalLM.from_config(config)
        for p in made.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return made.eval()


def files(folder: Path, family: str, config: dict[str, Any], *, tied: bool) -> dict[str, str]:
    plain(family, tied=tied).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    (folder / "asks.jsonl").write_text("\n".join(json.dumps({"prompt": a}) for a in ASKS[:8]))
    (folder / "judges.py").write_text(JUDGES, encoding="utf-8")
    (folder / "peft").mkdir()
    (folder / "peft" / "adapter_config.json").write_text(json.dumps(config))
    names = {"model": "model", "prompts": "asks.jsonl", "peft": "peft"}
    return {k: str(folder / v) for k, v in names.items()} | {
        "rewards": f"{folder / 'judges.py'}:words"
    }


def ran(given: dict[str, str], out: Path, *more: str, steps: int = 1, code: int = 0) -> Path:
    flags = [w for k, v in given.items() for w in (f"--{k}", v)]
    small = {"held-out": 3, "max-tokens": 6, "batch-size": 3, "num-generations": 3}
    loop = {"eval-generations": 1, "eval-steps": 1, "max-steps": steps, "learning-rate": 0.05}
    numbers = [w for k, v in {**small, **loop}.items() for w in (f"--{k}", str(v))]
    words = ["run", "leave_one_out", "--world", "hub", *flags, *numbers, "--save-steps", "1", *more]
    assert cli.main([*words, "--out", str(out)]) == code
    return out


def logps(model: Any, x: Any) -> list[torch.Tensor]:
    """Each completion's token log-probabilities by a plain model, without padding."""
    out = []
    for b, n in x.present.nonzero().tolist():
        ask, taken = x.prompts.tokens[b][x.prompts.mask[b]], x.action[b, n][x.mask[b, n]]
        with torch.no_grad():
            logits = model(input_ids=torch.cat([ask, taken])[None]).logits[0, len(ask) - 1 : -1]
        out.append(logits.log_softmax(-1).gather(1, taken[:, None])[:, 0])
    return out


def apart(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_is_trained_exported_and_read_by_plain_transformers(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM

    family, tied, config = CASES[case]
    given = files(tmp_path, family, config, tied=tied)
    run = ran(given, tmp_path / "run")
    assert Run.open(run).readings()[0]["kl"] == pytest.approx(0, abs=1e-9)
    capsys.readouterr()
    assert cli.main(["export", str(run), "--last", "--out", str(tmp_path / "out")]) == 0
    assert "checked: loaded by plain transformers" in capsys.readouterr().out
    world = hub.world(
        policy=given["model"],
        prompts=given["prompts"],
        peft=given["peft"],
        held_out=3,
        max_tokens=6,
    )
    base = AutoModelForCausalLM.from_pretrained(given["model"])
    policy: Any = world.task.reference.copy()
    x = policy.vocabulary.completions(world.held_out, [["the old mill"], ["a gate"], ["we walk"]])
    start = logps(base, x)
    assert apart(own(policy, x), start) < 1e-5, "a new adapter is the base"
    policy.load_state_dict(disk.load(run / str(last(Run.open(run))["file"])))
    exported = logps(AutoModelForCausalLM.from_pretrained(tmp_path / "out"), x)
    assert apart(own(policy, x), exported) < 1e-5
    assert apart(start, exported) > 1e-4, "the run moved it"
    assert apart(own(world.task.reference, x), start) < 1e-5, "the reference is the base still"


def own(policy: Any, x: Any) -> list[torch.Tensor]:
    """Each completion's token log-probabilities over the whole vocabulary, by the policy."""
    from assay.models.backbones.backbone import read

    with torch.no_grad():
        hidden, before = read(policy.backbone, x, x.mask)
        out = []
        for b, n in x.present.nonzero().tolist():
            each = policy.backbone.logits(hidden[before[b, n, :-1][x.mask[b, n]]]).log_softmax(-1)
            out.append(each.gather(1, x.action[b, n][x.mask[b, n]][:, None])[:, 0])
    return out


STOPPING = """
from pathlib import Path
CALLS = []
def words(prompts, completions):
    CALLS.append(1)
    if len(CALLS) == 5 and not (Path(__file__).parent / "go").exists():
        raise RuntimeError("the judge is down")
    return [float(len(c.split())) for c in completions]
"""


def test_a_resumed_run_goes_on_bit_for_bit_with_what_it_saved(tmp_path: Path) -> None:
    """The saved modules' weights are in the checkpoint, too."""
    given = files(tmp_path, "llama", {**LLAMA, **SAVED}, tied=True)
    (tmp_path / "judges.py").write_text(STOPPING, encoding="utf-8")
    ran(given, tmp_path / "part", steps=2, code=2)
    assert Run.open(tmp_path / "part").readings()[-1]["step"] == 1, "it stopped after a step"
    (tmp_path / "go").touch()
    assert cli.main(["run", "--resume", "--out", str(tmp_path / "part"), "-q"]) == 0
    ran(given, tmp_path / "whole", steps=2)
    runs = [Run.open(tmp_path / f) for f in ("whole", "part")]
    a, b = (disk.load(r.folder / str(last(r)["file"])) for r in runs)
    assert any("modules_to_save" in k for k in a)
    assert set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_an_exported_adapter_alone_is_checked_on_its_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = files(tmp_path, "llama", {**LLAMA, **SAVED}, tied=True)
    run = ran(given, tmp_path / "run")
    out = tmp_path / "adapter"
    assert cli.main(["export", str(run), "--last", "--adapter", "--out", str(out)]) == 0
    assert "checked: " in capsys.readouterr().out
    assert (out / "adapter_model.safetensors").exists() and not (out / "config.json").exists()


def test_saved_modules_of_a_bfloat16_base_are_trained_in_float32(tmp_path: Path) -> None:
    """A step of less than 1/256 of a weight is kept; layers computed again find their adapter."""
    given = files(tmp_path, "llama", {**LLAMA, **SAVED}, tied=True)
    runs = [
        ran(given, tmp_path / "run", "--dtype", "bfloat16", steps=2),
        ran(given, tmp_path / "again", "--dtype", "bfloat16", "--checkpointing", steps=2),
    ]
    a, b = (disk.load(r / str(last(Run.open(r))["file"])) for r in runs)
    assert all(torch.equal(a[k], b[k]) for k in a)
    moved = {k: v for k, v in a.items() if "modules_to_save" in k}
    assert moved and all(v.dtype == torch.float32 for v in moved.values())
    assert any(not torch.equal(v, v.bfloat16().float()) for v in moved.values())
    assert cli.main(["export", str(runs[0]), "--last", "--out", str(tmp_path / "out")]) == 0
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert said["dtype"] == "bfloat16"


def test_a_model_untied_by_training_says_so_and_a_tied_one_stays_tied(tmp_path: Path) -> None:
    for name, config, tied in (("u", {**LLAMA, **SAVED}, False), ("t", LLAMA, True)):
        folder = tmp_path / name
        folder.mkdir()
        run = ran(files(folder, "llama", config, tied=True), folder / "run")
        assert cli.main(["export", str(run), "--last", "--out", str(folder / "out")]) == 0
        said = json.loads((folder / "out" / "config.json").read_text())
        assert said["tie_word_embeddings"] is tied


def test_a_configuration_that_changed_since_the_run_began_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another lora_alpha fits the weights, and would be another policy."""
    given = files(tmp_path, "llama", LLAMA, tied=True)
    (tmp_path / "judges.py").write_text(STOPPING, encoding="utf-8")
    run = ran(given, tmp_path / "run", steps=2, code=2)
    (tmp_path / "go").touch()
    changed = {**LLAMA, "lora_alpha": 16}
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps(changed))
    for words in (
        ["export", str(run), "--out", str(tmp_path / "out")],
        ["run", "--resume", "--out", str(run)],
    ):
        capsys.readouterr()
        assert cli.main(words) == 2
        said = capsys.readouterr().err
        assert f"{given['peft']}/adapter_config.json changed since the run began" in said


def test_a_dropout_of_the_configuration_is_named_as_not_applied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**LLAMA, "lora_dropout": 0.1}))
    adapter_config.read(str(file))
    assert "has lora_dropout 0.1, which is not applied" in caplog.text
    caplog.clear()
    file.write_text(json.dumps({**LLAMA, "lora_dropout": 0.0}))
    adapter_config.read(str(file))
    assert not caplog.text
