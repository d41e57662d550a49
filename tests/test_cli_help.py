"""Help as a reader sees it: examples that parse, flags of a model first, papers that say what they
need, and commands that were meant.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli_config import printed
from test_cli_run import _elsewhere, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.api.flags import converted
from assay.api.suggestions import VERB_NAMES
from assay.cli.endings import command, folded
from assay.cli.parsing import parse
from assay.cli.showing import examples
from assay.registry import catalogue


def accepted(line: str) -> None:
    """Raises where a command line is not what its verb takes."""
    words = shlex.split(line)
    assert words.pop(0) == "assay"
    name = " ".join(words[:2]) if " ".join(words[:2]) in cli.VERBS else words[0]
    rest = words[len(name.split()) :]
    grammar = cli.VERBS[name].grammar(rest)
    converted(parse(rest, grammar)[1], grammar.flags)


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_verb_has_two_examples_that_it_takes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = cli.VERBS[name].grammar().examples
    assert len(lines) >= 2
    for line in lines:
        found = re.search(rf"assay {name}[^>)]*", line)
        assert found, line
        accepted(found[0])
    told = printed(capsys, *name.split(), "--help").replace(" \\\n      ", " ")
    assert all(f"\n  {line}\n" in told for line in lines)


def test_run_without_a_recipe_shows_what_a_model_needs(capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, "run", "--help")
    for flag in ("--model", "--prompts", "--rewards", "--gold", "--pairs", "--demos", "--dtype"):
        assert re.search(rf"│ {flag} ", told), f"{flag} is shown without its prefix"
    assert "--world.policy" not in told and "--noise" not in told
    flags = re.findall(r"^│ (--[\w.-]+)", told, re.M)
    assert len(flags) == len(set(flags)) > 60, "the run's --seed is the one that is typed bare"
    headings = re.findall(r"╭─ (\w+) ─", told)
    assert headings.index("Model") < headings.index("Data") < headings.index("Watch")
    model = told[told.index("╭─ Model ─") :]
    assert re.match(r".*\n│ --model TEXT ", model), "what must be given comes first"
    assert "--noise" in printed(capsys, "run", "--world", "grammar", "--help")


def test_every_paper_has_commands_that_are_accepted() -> None:
    for entry in catalogue.entries():
        for line in examples(entry).values():
            accepted(line)
    assert "with your model" in examples(catalogue.find("grpo"))
    assert "with your model" not in examples(catalogue.find("gated_rewards")), "it needs steps"
    assert "--pairs pairs.jsonl" in examples(catalogue.find("dpo"))["with your model"]


@pytest.mark.full
@pytest.mark.parametrize("name", ["odin", "distance_covariance"])
def test_a_fit_against_length_is_shown_with_what_varies_in_its_world(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All completions of world table are of one length, which these two fits refuse."""
    monkeypatch.chdir(tmp_path)
    line = examples(catalogue.find(name))["in a world"]
    assert cli.main([*shlex.split(line)[1:], "--max-steps", "1", "--quiet"]) == 0


def test_show_says_what_is_needed_and_what_it_reduces_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = printed(capsys, "show", "grpo")
    assert "A_i = (r_i − mean(r))" in told
    assert "\nNeeds\n  --rewards  reward models" in told
    assert re.search(r"--beta +FLOAT +0.04 +Weight of k3", told)
    assert "leave_one_out, with --no-standardise --unbiased --no-length-mean --beta 0.0" in told
    assert "\nNeeds\n  --pairs  a file of preference pairs" in printed(capsys, "show", "dpo")
    assert "--world.noise" in printed(capsys, "show", "grammar")


def test_show_needs_no_torch() -> None:
    code = (
        "import sys; from assay.cli import main; main(['show', 'grpo']); main(['show', 'table']);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_list_has_recipes_under_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, "list")
    parts = {p.splitlines()[0]: p for p in told.strip().split("\n\n")}
    assert len(parts) == 7
    for heading, name in (
        ("Recipes that need rewards: assay run NAME", "grpo"),
        ("Recipes that need a preference model: assay run NAME", "nash_md"),
        ("Recipes that need preference pairs: assay run NAME", "dpo"),
        ("Recipes that need demonstrations: assay run NAME", "sft"),
        ("Fits of reward models: assay run RECIPE --fit NAME", "warm"),
        ("Studies: assay study NAME", "debate"),
        ("Worlds: --world NAME", "hub"),
    ):
        assert f"\n{name} " in parts[heading], heading


@pytest.mark.parametrize(
    ("word", "verb"),
    [
        ("train", "run"),
        ("eval", "report"),
        ("generate", "export"),
        ("label", "watch page"),
        ("grpo", "run grpo"),
        ("warm", "run RECIPE --fit warm"),
        ("reprot", "report"),
    ],
)
def test_the_field_s_commands_are_known(
    word: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, word)
    assert said.startswith(f"assay: there is no command '{word}'; did you mean {verb}?")


def test_no_name_for_a_command_is_a_command() -> None:
    assert not set(VERB_NAMES) & set(cli.VERBS)
    assert set(VERB_NAMES.values()) <= set(cli.VERBS)


def test_a_folded_command_is_one_command() -> None:
    line = "assay run grpo --model a/b --rewards 'my judge.py:f' --no-chat --out runs/x"
    told = folded(line, 30)
    assert all(len(row) <= 34 for row in told.splitlines()) and "\\\n" in told
    assert shlex.split(told.replace("\\\n", " ")) == shlex.split(line)
    assert shlex.split(command("assay", "report", Path("a b"))) == ["assay", "report", "a b"]


def test_a_narrow_terminal_cuts_nothing() -> None:
    """At 40 and 80 columns: no line of a list is wider than a pseudo-terminal is."""
    import pty
    import struct
    import termios
    from fcntl import ioctl

    for wide in (40, 80):
        parent, child = pty.openpty()
        ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, wide, 0, 0))
        plain = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
        plain.pop("COLUMNS", None)
        process = subprocess.Popen(
            [sys.executable, "-c", "from assay.cli import main; main(['list']); main(['claims'])"],
            stdout=child, stderr=subprocess.DEVNULL, stdin=child, env=plain,
        )  # fmt: skip
        os.close(child)
        out = b""
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:  # a terminal whose other end is closed
                break
            out += piece
            if not piece:
                break
        os.close(parent)
        assert process.wait(60) == 0
        text = re.sub(r"\x1b\[[0-9;]*m", "", out.decode())
        assert not re.search(r"\x1b\[[0-9;]*3\dm", out.decode()), "NO_COLOR holds"
        lines = text.replace("\r", "").splitlines()
        assert max(len(line.rstrip()) for line in lines) <= wide
        assert "worst_case" in text and "does not hold here" in text


def test_every_command_takes_version_quiet_and_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    from assay import __version__

    assert printed(capsys, "run", "--version") == printed(capsys, "--version") == f"{__version__}\n"
    told = printed(capsys, "--help")
    for flag in ("--quiet", "--verbose", "--version", "NO_COLOR", "HF_HUB_OFFLINE"):
        assert flag in told
    said = refused(capsys, "show", "nowhere", "--quiet")
    assert len(said.splitlines()) == 1
    assert cli.main(["show", "nowhere", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
