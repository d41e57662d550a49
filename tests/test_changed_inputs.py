"""What a run was given is compared by content when it goes on, and when its policy is exported."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint
from safetensors.torch import load_file, save_file
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)

import assay
from assay import cli
from assay.api import inputs
from assay.records import input_digests, own_code
from assay.records.runs import Run

PEFT = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
}
JUDGE = (
    "def long(prompts, completions, **columns):\n    return [float(len(c)) for c in completions]\n"
)
CHANGED = r"changed since the run began \(sha256 [0-9a-f]{12} then, [0-9a-f]{12} now\)"
RUN = [
    *("run", "leave_one_out", "--model", "model", "--prompts", "asks.jsonl", "--held-out", "1"),
    *("--rewards", "judge.py:long", "--max-tokens", "4", "--max-steps", "2", "--save-steps", "1"),
    *("--batch-size", "2", "--num-generations", "2", "--eval-steps", "1"),
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an adapter that stopped after its first step, and all that it was given."""
    home = tmp_path_factory.mktemp("begun")
    checkpoint(home / "model", "llama")
    rows = [{"prompt": f"please tell me about the {a}"} for a in ("mill", "gate", "pond", "river")]
    (home / "asks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (home / "judge.py").write_text(JUDGE)
    (home / "peft").mkdir()
    (home / "peft" / "adapter_config.json").write_text(json.dumps(PEFT))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        real, kept = Run.append, []

        def stops(self: Run, reading: Any) -> None:
            real(self, reading)
            kept.append(reading)
            if len(kept) == 2:
                raise KeyboardInterrupt

        patch.setattr(Run, "append", stops)
        assert cli.main([*RUN, "--peft", "peft", "--out", "run"]) == 130
    return home


@pytest.fixture
def here(begun: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    home = tmp_path / "home"
    shutil.copytree(begun, home)
    monkeypatch.chdir(home)
    own_code.remember([home / "judge.py"])  # the copy is this user's
    return home


def again(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code and the last line on stderr of a command, which a quick one may lack."""
    capsys.readouterr()
    code = cli.main([*words])
    return code, (capsys.readouterr().err.strip().splitlines() or [""])[-1]


def another_weight(home: Path) -> None:
    weights = load_file(home / "model" / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, home / "model" / "model.safetensors", metadata={"format": "pt"})


def another_rank(home: Path) -> None:
    (home / "peft" / "adapter_config.json").write_text(json.dumps({**PEFT, "lora_alpha": 8}))


def another_row(home: Path) -> None:
    with open(home / "asks.jsonl", "a") as f:
        f.write('\n{"prompt": "one more"}\n')


def another_judge(home: Path) -> None:
    (home / "judge.py").write_text(JUDGE + "\n")


def another_template(home: Path) -> None:
    (home / "model" / "chat_template.jinja").write_text("{{ messages[0].content }}")


@pytest.mark.parametrize(
    ("change", "file", "exported"),
    [
        (another_weight, "model/model.safetensors", False),
        (another_template, "model/chat_template.jinja", False),
        (another_rank, "peft/adapter_config.json", False),
        (another_row, "asks.jsonl", True),
        (another_judge, "judge.py", True),
    ],
)
def test_what_changed_is_told_by_its_name(
    change: Callable[[Path], None],
    file: str,
    exported: bool,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    change(here)
    code, said = again(capsys, "run", "--resume", "--out", "run")
    assert code == 2 and re.match(f"assay: {file} {CHANGED}; put back what run began with", said)
    assert said.endswith("or go on all the same with --accept-changes")
    code, said = again(capsys, "export", "run", "--last", "--out", "m")
    if exported:
        assert code == 0 and re.search(f"{file} {CHANGED}: run was made with", caplog.text)
    else:
        assert code == 2 and re.match(f"assay: {file} {CHANGED}, and the policy of run", said)
        with pytest.raises(assay.core.InputError, match=f"{file} {CHANGED}"):
            assay.open_run("run").policy  # noqa: B018


def test_an_unchanged_run_goes_on_and_files_that_nothing_loads_may_change(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "model" / "README.md").write_text("more")
    (here / "model" / ".gitattributes").write_text("more")
    for path in here.rglob("*.json*"):
        path.touch()
    code, said = again(capsys, "run", "--resume", "--out", "run")
    assert code == 0, said
    assert Run.open("run").record.changed == {}


def test_what_is_gone_or_new_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "model" / "tokenizer_config.json").rename("kept.json")
    code, said = again(capsys, "run", "--resume", "--out", "run")
    assert code == 2
    assert "model/tokenizer_config.json is gone, which was there when the run began;" in said
    Path("kept.json").rename(here / "model" / "tokenizer_config.json")
    (here / "model" / "added_tokens.json").write_text("{}")
    code, said = again(capsys, "export", "run", "--last", "--out", "m")
    assert code == 2 and "model/added_tokens.json was not there when the run began" in said
    shutil.rmtree("model")
    code, said = again(capsys, "export", "run", "--last", "--out", "m")
    assert code == 2 and "assay: model is gone, which was there when the run began, and" in said


def test_a_run_goes_on_with_changes_that_are_accepted_and_its_record_says_so(
    here: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = dict(Run.open("run").record.inputs)
    another_row(here)
    code, _ = again(capsys, "run", "--resume", "--accept-changes", "--out", "run")
    assert code == 0 and re.search(f"asks.jsonl {CHANGED}: run goes on", caplog.text)
    record = Run.open("run").record
    assert record.changed == {"asks.jsonl": first["asks.jsonl"]}
    assert record.inputs.keys() == first.keys()
    assert record.inputs["asks.jsonl"] != first["asks.jsonl"]
    assert inputs.changes(Run.open("run").about, "run") == []
    caplog.clear()
    code, _ = again(capsys, "export", "run", "--last", "--out", "m")
    assert code == 0 and "asks.jsonl changed while run was under way" in caplog.text


def test_python_accepts_changes_too(here: Path) -> None:
    another_judge(here)
    given: dict[str, Any] = {"out": "run", "resume": True, "quiet": True}
    with pytest.raises(assay.core.InputError, match="go on all the same with accept_changes"):
        assay.train("leave_one_out", **given)
    assert assay.train("leave_one_out", **given, accept_changes=True).state == "done"


def test_a_sweep_refuses_to_go_on_with_other_files(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "leave_one_out", *RUN[2:], "--peft", "peft", "--out", "s"]
    (here / "s" / "leave_one_out").mkdir(parents=True)
    shutil.copytree("run", "s/leave_one_out/run")
    another_weight(here)
    code, said = again(capsys, *words)
    assert code == 2 and re.match(f"assay: model/model.safetensors {CHANGED}", said)
    assert again(capsys, *words, "--accept-changes")[0] == 0
    assert "model/model.safetensors" in Run.open("s/leave_one_out/run").record.changed


def test_the_base_that_an_adapter_names_counts_as_the_model(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = here / "adapter"
    assert again(capsys, "run", "--resume", "--out", "run")[0] == 0
    assert again(capsys, "export", "run", "--last", "--adapter", "--out", "adapter")[0] == 0
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "model"
    assert set(inputs.held({"policy": "adapter"})) >= {"adapter", "model/model.safetensors"}


def test_a_large_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_digests, "WHOLE", 1000)
    monkeypatch.setattr(input_digests, "_HEAD", 64)
    monkeypatch.setattr(input_digests, "_PART", 16)
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(4096))
    before = input_digests.file_digest(path)
    for changed in (b"1" + bytes(4095), bytes(4095) + b"1", b"1" * 4096, bytes(4097)):
        path.unlink()
        path.write_bytes(changed)
        assert input_digests.file_digest(path) != before


def test_a_model_of_the_hubs_cache_counts_by_its_files(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_digests, "cached", lambda name: here / "model")
    before = inputs.held({"policy": "owner/name"})
    assert "owner/name/model.safetensors" in before
    about = {"inputs": before, "world": {"policy": "owner/name"}}
    assert inputs.changes(about, "run") == []
    another_weight(here)
    (change,) = inputs.changes(about, "run")
    assert (change.path, change.part) == ("owner/name/model.safetensors", "model")


def test_a_record_of_an_earlier_assay_is_compared_by_what_it_kept(here: Path) -> None:
    about = {"inputs": {"model": inputs.sketch(here / "model")}, "world": {"policy": "model"}}
    assert inputs.changes(about, "run") == []
    another_weight(here)
    assert [c.path for c in inputs.changes(about, "run")] == ["model"]


def test_a_function_of_python_that_was_edited_is_told(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return [float(len(c)) for c in completions]

    given: dict[str, Any] = {
        "model": "model",
        "prompts": ["Hi", "Hello", "Hey"],
        "held_out": 1,
        "max_tokens": 4,
        "max_steps": 2,
        "eval_steps": 1,
        "out": "python",
        "quiet": True,
    }
    run = assay.train("leave_one_out", rewards=judge, stream=True, **given)
    for reading in run:
        if reading["step"] == 1:
            break
    run._coming.close()  # type: ignore[union-attr]  # a reader that stops reading
    loud = {**given, "quiet": False}
    same, first = judge, "the function judge changed since python began"

    def judge(prompts: Any, completions: Any, **columns: Any) -> list[float]:  # type: ignore[no-redef]
        return [float(-len(c)) for c in completions]

    assay.train("leave_one_out", rewards=same, stream=True, resume=True, **loud)
    assert first not in caplog.text
    assay.train("leave_one_out", rewards=judge, stream=True, resume=True, **loud)
    assert first in caplog.text
