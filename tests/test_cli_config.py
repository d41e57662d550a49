"""Config files, help, completion and the screen: what every verb has in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_cli_list import processor_seconds
from test_cli_run import SMALL, _elsewhere, readings, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.cli import config
from assay.errors import InputError
from assay.records.runs import Run
from assay.registry import catalogue

TOML = """
recipe = "uncertainty_weighted"
lam = 2
max_steps = 4
batch-size = 4
num_generations = 4
eval_steps = 2
eval_generations = 4

[world]
name = "table"
pairs = 40
members = 2
prompts = 4
vocabulary = 24
"""


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main([*words]) == 0
    return capsys.readouterr().out


def test_a_config_file_is_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text(TOML)
    assert cli.main(["run", "--config", "run.toml", "--out", "a"]) == 0
    assert cli.main(["run", "uncertainty_weighted", *SMALL, "--lam", "2", "--out", "b"]) == 0
    assert readings("a") == readings("b")
    about = Run.open("a").about
    assert about["arguments"]["lam"] == 2.0
    assert (about["world"]["name"], about["world"]["pairs"]) == ("table", 40)
    words = ["run", "--config", "run.toml", "--lam", "0.5", "--world.noise", "0", "--out", "c"]
    assert cli.main(words) == 0
    assert Run.open("c").about["arguments"]["lam"] == 0.5, "a flag goes over the file"
    assert Run.open("c").about["world"]["noise"] == 0.0


@pytest.mark.parametrize("suffix", ["toml", "yaml", "json"])
def test_what_is_printed_can_be_read_back(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["run", "dpo", *SMALL, "--beta", "0.3", "--watch", "gold", "--watch.budget", "9"]
    text = printed(capsys, *flags, "--print-config")
    Path("made.toml").write_text(text)
    found = config.read(Path("made.toml"))
    assert (found["recipe"], found["beta"], found["world"]) == ("dpo", 0.3, "table")
    assert (found["watch"], found["watch.budget"]) == ("gold", 9)
    assert "learning_rate" not in found, "the world decides where nothing is said"
    path = Path(f"other.{suffix}")
    nested: dict[str, Any] = {}
    for name, value in found.items():
        table, _, last = name.rpartition(".")
        if name in config.BARE:
            table, last = name, config.BARE[name]
        (nested.setdefault(table, {}) if table else nested)[last] = value
    path.write_text(
        {"toml": text, "yaml": yaml.safe_dump(nested), "json": json.dumps(nested)}[suffix]
    )
    again = printed(capsys, "run", "--config", str(path), "--print-config")
    assert sorted(again.splitlines()) == sorted(text.splitlines())


def test_every_kind_of_value_is_written_as_toml() -> None:
    import tomllib

    values = {
        "a": 1e-05, "b": True, "c": [1, "x"], "d": None, "e": 'q"\\\n', "fit.f": {"p": "q"},
        "world": "table", "world.g": (),
        "i": float("inf"),
    }  # fmt: skip
    assert tomllib.loads(config.toml(values)) == {
        "a": 1e-05, "b": True, "c": [1, "x"], "d": "null", "e": 'q"\\\n',
        "fit": {"f": {"p": "q"}}, "world": {"name": "table", "g": []}, "i": float("inf"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.toml", "bete = 1", "a.toml: dpo in world grammar has no --bete; did you mean --beta?"),
        ("a.toml", 'beta = "high"', "a.toml: beta is 'high', and a number was expected"),
        ("a.toml", "beta = [1]", "a.toml: beta is '[1]', and a number was expected"),
        ("a.toml", "beta =", "a.toml cannot be read: "),
        ("a.json", "[1]", "a.json must hold flags by name, and holds list"),
        ("a.yaml", "a: [", "a.yaml cannot be read: "),
        ("a.toml", "beta = 2020-01-01", "datetime.date(2020, 1, 1) is neither text, number, list"),
        ("a.yaml", "beta: !!binary aGk=", "b'hi' is neither text, number, list nor table"),
        ("a.yaml", "beta: &a [*a]", "it holds more than 100000 values, or itself"),
        ("a.json", '{"\\u001b[31m": 1}', "has no --⟨U+001B⟩[31m; "),
        ("a.ini", "", "a.ini is not a config file that assay reads: name it .toml, .yaml or .json"),
        ("", "", "there is no config file nowhere.toml"),
    ],
)
def test_a_wrong_config_is_one_sentence(
    name: str, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name:
        Path(name).write_text(text)
    assert sentence in refused(capsys, "run", "dpo", "--config", name or "nowhere.toml")


def test_a_list_in_a_config_may_be_one_text() -> None:
    """A text where a list is expected is a list of one, never its letters."""
    from assay.api.values import value

    assert value("score.py:score", tuple[str, ...], "--rewards") == ("score.py:score",)


def test_help_has_every_flag_with_its_type_its_default_and_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    told = printed(capsys, "run", "dpo", "--world", "table", "--help")
    for heading in ("Recipe", "Sampling", "Optimisation", "Rewards", "World", "Watch", "Run"):
        assert f"─ {heading} ─" in told
    line = next(row for row in told.splitlines() if "--beta FLOAT" in row)
    assert "[default: 0.1]" in line
    line = next(row for row in told.splitlines() if "--learning-rate --lr FLOAT" in row)
    assert "[default: the world's]" in line
    assert "--noise FLOAT" in told and "--num-generations -n INT" in told
    assert "\x1b" not in told, "colour is for terminals"
    assert "--fit.smoothing" in printed(capsys, "run", "dpo", "--fit", "bradley_terry", "--help")
    assert "--beta" not in printed(capsys, "run", "--help")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_help_and_a_mistyped_flag_need_no_torch() -> None:
    lines = ["import sys", "from assay.cli import main"]
    for words in (["--help"], ["list"], ["run", "grpo", "--help"], ["fit", "--help"], ["run"]):
        lines.append(f"main({words!r})")
    lines.append("main(['run', 'grpo', '--lerning-rate', '1'])")
    heavy = {"torch", "transformers", "pydantic", "psutil", "filelock", "scipy"}
    lines.append(f"assert not {heavy} & set(sys.modules)")
    assert "did you mean --learning-rate?" in python("\n".join(lines)).stderr


@pytest.mark.skipif(bool(os.environ.get("ASSAY_NO_CLOCK")), reason="too busy to time anything on")
def test_help_is_quick() -> None:
    # the limits hold where this import takes 0.075 s, as on an idle machine; a slow one has more
    slow = max(1.0, quickest("-c", "import cyclopts") / 0.075)
    assert quickest("-m", "assay", "--help") < 0.3 * slow
    assert quickest("-m", "assay", "run", "grpo", "--help") < 0.5 * slow


def quickest(*words: str) -> float:
    """The least of three times: what else a machine does only adds to them."""
    return min(processor_seconds(words)[0] for _ in range(3))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, "completion", shell)
    for word in ("--learning-rate", "leave_one_out", "completion", "status", "--print-config"):
        assert word in script or word.lstrip("-") in script, word
    assert "there is no command" not in refused(capsys, "completion", "tcsh")


def test_bash_completes_verbs_flags_and_recipes() -> None:
    Path("assay.bash").write_text(
        python("from assay.cli import main; main(['completion', 'bash'])").stdout
    )
    code = """source ./assay.bash
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _assay; echo "${COMPREPLY[@]}"; }
ask assay re
ask assay run leave_o
ask assay run dpo --learn
ask assay watch stat
"""
    told = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
    assert told.stderr == ""
    assert [row.strip() for row in told.stdout.splitlines()] == [
        "report", "leave_one_out", "--learning-rate", "status"]  # fmt: skip


def test_a_reader_that_goes_is_no_error() -> None:
    code = f"{sys.executable} -m assay list --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
    assert told.stderr == ""
    told = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m assay --help | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (told.stdout, told.stderr) == ("Usage: assay COMMAND [OPTIONS]\n", "")


def test_quiet_leaves_only_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "run", "leave_one_out", *SMALL, "--out", "a", "--quiet") == "a\n"
    assert "step" in printed(capsys, "run", "leave_one_out", *SMALL, "--out", "b")
    assert printed(capsys, "--version").strip()


def test_a_model_needs_no_world(capsys: pytest.CaptureFixture[str]) -> None:
    """--model alone means world hub."""
    text = printed(capsys, "run", "dpo", "--world.policy", "x", "--print-config")
    assert config_of(text)["world"] == "hub"


def test_help_has_the_numbers_of_a_run_with_a_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What help, show and --print-config say is what the world's own Loop says."""
    from assay.api import loop_defaults
    from assay.core import Loop

    monkeypatch.setenv("COLUMNS", "200")
    text = (catalogue.HOME / "worlds" / "hub.py").read_text()
    assert "loop=Loop(max_steps=100, batch_size=16, num_generations=8, learning_rate=1e-6)" in text
    loop = Loop(max_steps=100, batch_size=16, num_generations=8, learning_rate=1e-6)
    found = loop_defaults.of_world(catalogue.HOME / "worlds" / "hub.py")
    assert found is not None and Loop(**found) == loop and set(found) == loop.given
    assert loop_defaults.of_world(catalogue.HOME / "worlds" / "table.py") is None
    helped = printed(capsys, "run", "grpo", "--help")
    line = next(row for row in helped.splitlines() if "--learning-rate --lr FLOAT" in row)
    assert "[default: 1e-06]" in line
    written = config_of(printed(capsys, "run", "grpo", "--model", "x", "--print-config"))
    told = (written["learning_rate"], written["batch_size"], written["max_steps"])
    assert told == (1e-6, 16, 100)
    assert written["model"] == "x" and "world.policy" not in written, "names are those of help"
    assert written["max_tokens"] == 128 and "world.max_tokens" not in written
    old = "recipe = 'dpo'\n[world]\nname = 'hub'\npolicy = 'x'\nmax_tokens = 9\n"
    Path("old.toml").write_text(old)
    new = config_of(printed(capsys, "run", "--config", "old.toml", "--print-config"))
    assert (new["model"], new["max_tokens"]) == ("x", 9), "longer names are read too"
    for name in ("grpo", "hub"):
        shown = printed(capsys, "show", name)
        assert "--learning-rate    1e-06" in shown and "--batch-size       16" in shown


def config_of(text: str) -> dict[str, Any]:
    Path("printed.toml").write_text(text)
    return config.read(Path("printed.toml"))


def test_an_order_takes_values_from_python_too() -> None:
    """A text where a list is wanted is a list of one, and an unknown name is a sentence."""
    from assay.api import orders
    from assay.registry import catalogue

    dpo = catalogue.find("dpo")
    hub = {"world": "hub", "world.policy": "x"}
    made = orders.order(dpo, {**hub, "world.rewards": "score.py:score", "beta": 1})
    assert made.world_arguments["rewards"] == ("score.py:score",)
    assert made.arguments["beta"] == 1.0
    with pytest.raises(InputError, match="dpo in world hub has no --bete; did you mean --beta"):
        orders.order(dpo, {**hub, "bete": 1})
    with pytest.raises(InputError, match="--beta is 'high', and a number was expected"):
        orders.order(dpo, {**hub, "beta": "high"})


def test_a_switch_before_the_recipe_takes_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "run", "--policies", "dpo", "--print-config")
    assert (config_of(text)["recipe"], config_of(text)["policies"]) == ("dpo", True)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "grpo", *SMALL],
        ["sweep", "grpo", "leave_one_out", *SMALL, "--seeds", "0"],
    ],
)
def test_what_is_printed_for_a_plain_run_runs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plain.toml").write_text(printed(capsys, *words, "--print-config"))
    assert cli.main([words[0], "--config", "plain.toml", "--out", "plain"]) == 0
