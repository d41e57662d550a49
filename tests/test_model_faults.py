"""A damaged or incomplete model folder: one sentence that names the file or the weight."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from safetensors.torch import load_file, save_file
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)

import assay
from assay import cli
from assay.errors import InputError
from assay.records.runs import Run

UP = "layers.0.mlp.up_proj.weight"


def weights(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the weights of a folder."""

    def act(folder: Path) -> None:
        path = folder / "model.safetensors"
        found = load_file(path)
        change(found)
        save_file(found, path, metadata={"format": "pt"})

    return act


def config(file: str = "config.json", **changed: Any) -> Callable[[Path], None]:
    """Change entries of a JSON file."""

    def act(folder: Path) -> None:
        about = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**about, **changed}))

    return act


def text(file: str, said: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_text(said) and None  # type: ignore[func-returns-value]


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()


def one_shard_lost(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    where = {k: names[i > 3] for i, k in enumerate(found)}
    first = {k: found[k] for k, file in where.items() if file == names[0]}
    save_file(first, folder / names[0], metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def with_nan(found: dict[str, Any]) -> None:
    next(v for k, v in found.items() if k.endswith("embed_tokens.weight"))[299, 3] = torch.nan


def renamed(found: dict[str, Any], make: Callable[[Any], Any]) -> None:
    name = next(k for k in found if k.endswith(UP))
    new = make(found.pop(name))
    if new is not None:
        found[name] = new


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a weight is missing": (
        weights(lambda w: renamed(w, lambda t: None)),
        rf"its files lack (model\.)?{UP}, so that random numbers would stand in",
    ),
    "a weight has another shape": (
        weights(lambda w: renamed(w, lambda t: t[:-1].clone())),
        rf"(its files hold (model\.)?{UP} as \d+×\d+ where config.json says \d+×\d+|"
        "its weights have other shapes than its config.json says)",
    ),
    "one NaN": (weights(with_nan), r"its weights hold NaN or infinity \(.*embed_tokens.weight\)"),
    "whole numbers": (
        weights(lambda w: renamed(w, lambda t: t.to(torch.int32))),
        rf"model.safetensors holds model.{UP} as whole numbers \(I32\)",
    ),
    "a layer too many in config.json": (config(num_hidden_layers=3), "its files lack (model.)?lay"),
    "another vocabulary in config.json": (
        config(vocab_size=100),
        r"(weight as 307×\d+ where config.json says 100×|other shapes)",
    ),
    "cut off": (
        cut,
        r"model.safetensors has [\d,]+ bytes where its header says [\d,]+: it was not",
    ),
    "garbage": (text("model.safetensors", "garbage" * 99), "model.safetensors is no file of safet"),
    "nothing in it": (text("model.safetensors", ""), "model.safetensors is no file of safetensors"),
    "a pointer": (
        text("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "model.safetensors is a pointer of Git LFS and not the weights; fetch them with: git lfs",
    ),
    "a pickle": (pickled, "its weights are in pytorch_model.bin, a pickle, which may run code"),
    "no weights": (without("model.safetensors"), "it holds no weights"),
    "a shard is missing": (one_shard_lost, "model-00002-of-00002.safetensors is not there, which"),
    "no config": (without("config.json"), "(holds|with neither reward.json.* nor|no) config.json"),
    "config is no JSON": (text("config.json", '{"a": '), "config.json is not JSON"),
    "config is a list": (text("config.json", "[1]"), "config.json holds a list where an object"),
    "an unknown kind": (config(model_type="spaceship"), "model type `spaceship`"),
    "an encoder-decoder": (
        config(model_type="t5"),
        "(is an encoder-decoder|Unrecognized configuration class .*T5Config)",
    ),
    "generation settings": (text("generation_config.json", "{"), "generation_config.json is not J"),
    "no tokenizer": (without("tokenizer.json"), "it holds no tokenizer"),
    "a tokenizer that is no JSON": (text("tokenizer.json", "{"), "tokenizer.json is not JSON"),
    "an empty tokenizer": (text("tokenizer.json", "{}"), "tokenizer.json is empty"),
    "settings of a tokenizer": (text("tokenizer_config.json", "?"), "tokenizer_config.json is not"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model, a classifier and files for them."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    home = tmp_path_factory.mktemp("models")
    checkpoint(home / "causal", "llama")
    made = AutoModelForSequenceClassification.from_pretrained(home / "causal", num_labels=1)
    made.save_pretrained(home / "classifier")
    AutoTokenizer.from_pretrained(home / "causal").save_pretrained(home / "classifier")
    (home / "asks.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"the {a}"}) for a in ("mill", "gate", "pond"))
    )
    pairs = [{"prompt": f"p {i}", "chosen": f"good {i}", "rejected": "bad"} for i in range(8)]
    (home / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (home / "texts.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (home / "judge.py").write_text(
        "def one(prompts, completions, **c):\n    return [1.0 for _ in completions]\n"
    )
    return home


def words(kind: str, home: Path, broken: Path) -> list[str]:
    """A command that opens a model."""
    run = ["--prompts", str(home / "asks.jsonl"), "--held-out", "1", "--max-tokens", "4"]
    pairs, texts = str(home / "pairs.jsonl"), str(home / "texts.jsonl")
    return {
        "policy": ["run", "leave_one_out", "--model", str(broken), *run, "--max-steps", "1",
                   "--rewards", f"{home / 'judge.py'}:one", "--out", "run"],
        "base": ["fit", pairs, "--base", str(broken), "--out", "reward"],
        "frozen": ["fit", pairs, "--base", str(broken), "--frozen", "--out", "reward"],
        "classifier": ["score", str(broken), texts, "--out", "scores.jsonl"],
    }[kind]  # fmt: skip


@pytest.mark.parametrize("kind", ["policy", "base", "frozen", "classifier"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_model_is_one_sentence(
    fault: str, kind: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(models / ("classifier" if kind == "classifier" else "causal"), broken)
    if not (broken / "generation_config.json").exists():
        (broken / "generation_config.json").write_text("{}")
    act, sentence = FAULTS[fault]
    act(broken)
    capsys.readouterr()
    assert cli.main(words(kind, models, broken)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("assay: ") and str(broken) in last and re.search(sentence, last), last
    assert not any(Path(p).exists() for p in ("run", "reward", "scores.jsonl"))


@pytest.mark.parametrize(
    ("end", "sentence"),
    [(9999, "give 9999 as eos_token_id"), ("</s>", "give '</s>' as eos_token_id")],
)
def test_an_end_token_that_is_no_token_is_refused(
    end: Any, sentence: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models / "causal", tmp_path / "broken")
    config("generation_config.json", eos_token_id=end)(tmp_path / "broken")
    assert cli.main(words("policy", models, tmp_path / "broken")) == 2
    assert f"the model's settings {sentence}" in capsys.readouterr().err.splitlines()[-1]


def test_a_base_of_fewer_tokens_than_its_tokenizer_is_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row of the embeddings would be drawn for each, or an index be out of range."""
    broken = tmp_path / "broken"
    shutil.copytree(models / "causal", broken)
    few = lambda w: [w.update({k: v[:200].clone()}) for k, v in w.items() if len(v) == 307]
    weights(few)(broken)
    config(vocab_size=200)(broken)
    for kind in ("base", "frozen"):
        assert cli.main(words(kind, models, broken)) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "has a tokenizer of 300 tokens and a model of 200: they do not belong" in said


def test_weights_that_have_no_place_are_told(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A config.json of fewer layers made a smaller model in silence."""
    shutil.copytree(models / "causal", tmp_path / "model")
    config(num_hidden_layers=1)(tmp_path / "model")
    assert cli.main(words("policy", models, tmp_path / "model")) == 0
    assert "its files hold 9 weights that a model of this config.json has no place" in caplog.text
    assert "model.layers.1.input_layernorm.weight" in caplog.text
    caplog.clear()
    assert cli.main(words("frozen", models, tmp_path / "model")) == 0
    assert "model.layers.1.input_layernorm.weight" in caplog.text


@pytest.mark.parametrize("fault", ["cut off", "config is no JSON", "no tokenizer", "one NaN"])
def test_a_base_that_is_damaged_later_is_told_where_the_run_is_used(
    fault: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At resume, at export and in open_run, though the digests are those of the record."""
    shutil.copytree(models / "causal", tmp_path / "model")
    assert cli.main(words("policy", models, tmp_path / "model")) == 0
    act, sentence = FAULTS[fault]
    act(tmp_path / "model")
    capsys.readouterr()
    assert cli.main(["export", "run", "--last", "--out", "m"]) == 2
    assert re.search("(since|there when) the run began", capsys.readouterr().err)
    Run.open("run").note({"inputs": {}, "state": "interrupted"})
    for line in (
        ["export", "run", "--last", "--out", "m"],
        ["run", "--resume", "--out", "run"],
    ):
        capsys.readouterr()
        assert cli.main(line) == 2
        said = capsys.readouterr().err
        assert re.search(sentence, said.splitlines()[-1]) and "Traceback" not in said
    with pytest.raises(InputError, match=sentence):
        assay.open_run("run").last_policy  # noqa: B018


@pytest.mark.parametrize("kind", ["base", "frozen"])
def test_a_fitted_reward_that_is_damaged_is_one_sentence(
    kind: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models / "causal", tmp_path / "model")
    more = ["--epochs", "1", "--members", "1"] if kind == "base" else []
    assert cli.main([*words(kind, models, tmp_path / "model"), *more]) == 0
    texts = str(models / "texts.jsonl")
    needed = 0
    for path in sorted(p for p in Path("reward").rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for damaged in (None, b"", b"{", whole[: len(whole) // 2]):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            Path("scores.jsonl").unlink(missing_ok=True)
            capsys.readouterr()
            code = cli.main(["score", "reward", texts, "--out", "scores.jsonl"])
            said = capsys.readouterr().err
            assert "Traceback" not in said, (path, damaged, said)
            assert code in (0, 2), (path, said)
            needed += code == 2
        path.write_bytes(whole)
    assert needed >= 8, "the weights and their description, each damaged in four ways"


def test_a_base_that_lost_the_template_of_its_reward_is_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models / "causal", tmp_path / "model")
    assert cli.main(words("frozen", models, tmp_path / "model")) == 0
    (tmp_path / "model" / "chat_template.jinja").unlink()
    capsys.readouterr()
    assert cli.main(["score", "reward", str(models / "texts.jsonl"), "-o", "scores.jsonl"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "model has no chat template, and the reward was fitted with one" in said
