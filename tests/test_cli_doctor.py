"""doctor: what it finds is what is there, secrets stay secret, and each problem says what to do."""

from __future__ import annotations

import ast
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from source_tree import PACKAGE, files, tree

from assay import cli
from assay.cli import machine
from assay.cli.environment import VARIABLES
from assay.errors import InputError


def found(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["doctor", "--no-hub", "--json"]) == code
    out: dict[str, Any] = json.loads(capsys.readouterr().out)
    return out


def test_versions_devices_and_disks_are_those_of_this_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = found(capsys)
    versions = {v["name"]: v["version"] for v in told["versions"]}
    assert versions["torch"] == metadata.version("torch")
    assert versions["no_such_package"] is None if "no_such_package" in versions else True
    cpu = told["devices"][0]
    assert cpu["name"] == "cpu" and 0 < cpu["free"] <= cpu["total"]
    assert [d["place"] for d in told["disks"]] == [
        "this folder",
        "assay's cache",
        "the hub's cache",
    ]
    assert told["disks"][0]["path"] == str(Path.cwd())
    assert told["runs"]


def test_every_extra_says_what_it_gives() -> None:
    for extra in machine.extras():
        assert extra["gives"] and extra["packages"]
        assert extra["install"] == f"pip install '.[{extra['name']}]'"


def test_what_assay_needs_and_lacks_is_a_problem_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = machine.version_of
    monkeypatch.setattr(
        machine, "version_of", lambda p: "4.1.0" if p == "transformers" else real(p)
    )
    told = found(capsys, 1)
    assert not told["runs"]
    need = next(r for r in machine.requirements("") if r.startswith("transformers"))
    said = f"transformers 4.1.0 is installed, and assay needs {need}: pip install '{need}'"
    assert said in told["problems"]


@pytest.mark.parametrize(
    "typed",
    ["http://me:sesame@proxy:80", "me:sesame@proxy:80", "http://me:open@sesame@proxy:80",
     "https://mirror/hub?token=sesame"],
)  # fmt: skip
def test_no_part_of_a_password_in_an_address_is_shown(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", typed)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", typed)
    monkeypatch.setattr("assay.data.hub.unreachable", lambda: f"it cannot be reached ({typed})")
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "sesame" not in said and "…" in said


def test_secrets_are_only_said_to_be_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = [v.name for v in VARIABLES if v.secret]
    for name in secrets:
        monkeypatch.setenv(name, "hush-hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hush-hush@proxy:80")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    values = {v["name"]: v["value"] for v in found(capsys)["environment"]}
    assert {values[name] for name in secrets} == {"set"}
    assert values["HTTPS_PROXY"] == "http://…@proxy:80"
    assert values["WANDB_MODE"] is None
    assert cli.main(["doctor", "--no-hub"]) == 0
    assert "hush" not in capsys.readouterr().out


def test_every_variable_that_the_package_reads_is_in_the_table() -> None:
    """Names in os.environ[…], .get(…) and lists of keys."""
    known = {v.name for v in VARIABLES}
    read = set()
    for path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get":
                read |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant)}
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                read |= {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "KEYS":
                read |= set(ast.literal_eval(node.value))
    assert {"ASSAY_CACHE", "RANK", "ASSAY_JUDGE_KEY"} <= read, "the reader sees what it looks for"
    assert read - known - {"TERM"} == set()


def test_a_full_disk_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PACKAGE.is_dir()
    monkeypatch.setattr(machine, "ROOM", 1 << 60)
    told = found(capsys)
    assert any("(this folder) has" in p and p.endswith("make room") for p in told["problems"])
    assert cli.main(["doctor", "--no-hub"]) == 0
    assert "\nproblems\n1. " in capsys.readouterr().out


def test_a_model_is_examined_and_its_numbers_are_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    from families import checkpoint

    folder = checkpoint(tmp_path / "tiny", "llama")
    capsys.readouterr()
    assert cli.main(["doctor", "--no-hub", "--json", "--model", str(folder)]) == 0
    told = json.loads(capsys.readouterr().out)["model"]
    # an embedding of 307 by 32; two layers of q, o 32×32, k, v 16×32, three of 48×32, two norms
    layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 32
    parameters = (1 if told["parameters"] < 2 * 307 * 32 + 2 * layer else 2) * 307 * 32
    assert told["parameters"] == parameters + 2 * layer + 32
    assert told["adapted"] == 2 * 16 * (2 * 64 + 2 * 48 + 3 * 80)
    assert told["bytes"]["training all weights"] == 20 * told["parameters"]
    assert told["bytes"]["training LoRA 16"] == 4 * told["parameters"] + 16 * told["adapted"]
    assert told["bytes"]["a token of a training pass"] > 2 * 32 * 4
    assert told["prompts"] == "once for all their completions" and told["recomputed"]


def odd(at: Path, kind: str, **size: Any) -> str:
    """A tiny model of a family that names or makes its layers in a way of its own."""
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(vocab_size=50, **size)
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    getattr(transformers, f"{kind}{head}")(config).save_pretrained(at)
    return str(at)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2}
LLAMA = {**SMALL, "num_attention_heads": 2, "intermediate_size": 24}
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 12}


@pytest.mark.parametrize(
    ("kind", "size", "name"),
    [("GPT2", GPT2, "n_layer"), ("Llama", LLAMA, "num_hidden_layers")],
)
@pytest.mark.parametrize("layers", [-1, 0])
def test_a_model_without_layers_is_refused(
    tmp_path: Path, kind: str, size: dict[str, int], name: str, layers: int
) -> None:
    """transformers opens it, and its pass then ends with an error of Python or with none."""
    from assay.cli.model_facts import facts

    folder = odd(tmp_path, kind, **{**size, name: 0})
    config = tmp_path / "config.json"
    said = {**json.loads(config.read_text(encoding="utf-8")), name: layers}
    config.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(InputError, match=f"config.json says {name} is {layers}, so that no layer"):
        facts(folder)


@pytest.mark.parametrize(("kind", "size"), [("GPT2", GPT2), ("Llama", LLAMA)])
def test_the_adapters_that_are_counted_are_those_that_would_be_trained(
    tmp_path: Path, kind: str, size: dict[str, int]
) -> None:
    """GPT-2's linear layers are none of torch's."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    from assay.cli.model_facts import facts
    from assay.models.backbones.lora import lora_config

    folder = odd(tmp_path, kind, **size)
    model = AutoModelForCausalLM.from_pretrained(folder)
    adapted = peft.get_peft_model(model, lora_config(model, 16))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert facts(folder)["adapted"] == trained > 0


def test_a_model_of_few_positions_is_examined_too(tmp_path: Path) -> None:
    from assay.cli.model_facts import facts

    assert facts(odd(tmp_path, "GPT2", **GPT2))["bytes"]["a token of a training pass"] > 0


def test_a_model_whose_prompts_are_not_shared_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    from families import checkpoint

    from assay.models.backbones import body

    monkeypatch.setattr(body, "reason_against", lambda of: "its layers are of kind conv")
    assert cli.main(["doctor", "--no-hub", "--model", str(checkpoint(tmp_path, "llama"))]) == 0
    out = capsys.readouterr().out
    assert "once for each completion: its layers are of kind conv" in out


def test_a_model_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--no-hub", "--model", "./nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
