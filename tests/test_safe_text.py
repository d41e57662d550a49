"""Text of others is harmless on a terminal, as JSON and in a sheet, wherever it comes out."""

from __future__ import annotations

import ast
import json
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_tree import PACKAGE, files, part, tree, where

from assay import cli
from assay.cli import screen
from assay.cli.verbs import Verb
from assay.errors import InputError, NotFinite, Waiting
from assay.safe_text import cell, json_text, parts, uncelled, visible

EVIL = "\x1b[2J\x1b]8;;http://evil\x07\x9b31m\u202e\u200b\ufeff\u2028\ud800\x00\x7f\r\u3164\ufdd0[8m\U000e0041"
ANY = st.text(st.characters(codec=None), max_size=60)


def harmless(text: str) -> None:
    hidden = [c for c in text if visible(c) != c and c not in "\u200c\u200d"]
    assert hidden == []
    text.encode("utf-8")


@given(ANY)
def test_nothing_stays_hidden_and_text_without_it_stays(text: str) -> None:
    shown = visible(text)
    harmless(shown)
    assert visible(shown) == shown == "".join(part for _, part in parts(text))


def test_what_people_write_stays() -> None:
    for text in ("naïve café – 数学\n\tمی‌خواهم", "👩‍🔬 ✔️", "⟨x⟩"):
        assert visible(text) == text
    assert visible("gr\u200cpo") == "gr⟨U+200C⟩po", "a joiner in a name in ASCII hides"


@given(st.dictionaries(ANY, ANY | st.floats() | st.lists(ANY, max_size=2), max_size=3))
def test_json_is_strict_visible_and_means_the_same(value: dict[str, object]) -> None:
    text = json_text(value)
    harmless(text)
    again = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    finite = {k: None if (isinstance(v, float) and abs(v) in (float("inf"),)) or v != v else v
              for k, v in value.items()}  # fmt: skip
    assert json.dumps(again) == json.dumps(finite)


@given(ANY | st.from_regex(r"\A'{0,2}[ \t]?[=+\-@＝＋－＠0-9.]{1,4}\Z"))
def test_no_cell_is_a_formula_and_each_comes_back(text: str) -> None:
    made = cell(text)
    bare = made.lstrip()
    harmless(made)
    number = bare[:1] == "-" and bare[1:2].isdigit() and float(bare) <= 0
    assert not bare.startswith(tuple("=+-@＝＋－＠")) or number
    assert uncelled(made) == visible(text.replace("\r\n", "\n"))


def test_errors_and_logs_are_visible_in_any_program(caplog: pytest.LogCaptureFixture) -> None:
    for kind in (InputError, NotFinite, Waiting):
        harmless(str(kind(f"a column is named {EVIL}")))
    logging.getLogger("assay").warning("the world %s", EVIL)
    harmless(caplog.records[-1].getMessage())


def test_nothing_that_a_verb_prints_reaches_the_terminal_raw(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loud(*, json_: bool = False) -> int:
        """Do it."""
        from rich.console import Console

        print(EVIL, file=sys.stdout)
        sys.stderr.writelines([EVIL, "\n"])
        # pytest keeps what is logged, and cannot hand a surrogate to its first process
        logging.getLogger("assay").error(EVIL.replace("\ud800", ""))
        logging.getLogger("other").error(EVIL.replace("\ud800", ""))
        Console(markup=False).print(EVIL)
        screen.note(EVIL)
        screen.teller(True, False)(EVIL)
        print(screen.table((EVIL, "b"), [(EVIL, "[red]x[/red]")]), screen.heading(EVIL))
        raise RuntimeError(EVIL)

    monkeypatch.setattr(Verb, "load", lambda self: loud)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr()
    assert "[red]x[/red]" in said.out and "RuntimeError" in said.err
    ours = said.out + said.err
    for style in ("\x1b[1m", "\x1b[0m", "\x1b[1;36m", "\x1b[36m"):
        ours = ours.replace(style, "")
    harmless(ours)


def test_no_print_outside_of_the_command_line_forgets_to_clean() -> None:
    """The command line's streams clean; elsewhere each print cleans what is no constant, and
    nothing writes past the streams.
    """
    wrong = []
    for p in files():
        for node in ast.walk(tree(p)):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            past = name in ("os.write", "sys.__stdout__.write", "sys.__stderr__.write")
            if past or name.endswith((".buffer.write", "print_exception")):
                wrong.append(f"{where(p, node.lineno)} writes past the clean streams: {name}")
            loose = [a for a in node.args if not isinstance(a, ast.Constant)]
            cleaned = [a for a in loose if ast.unparse(a).startswith(("visible(", "json_text("))]
            prints = name in ("print", "sys.stdout.write", "sys.stderr.write")
            ours = part(p) == "cli" or p == PACKAGE / "__init__.py"  # "loading PyTorch"
            if prints and not ours and loose != cleaned:
                wrong.append(f"{where(p, node.lineno)} prints without visible()")
            named = name == "logging.getLogger" and ast.unparse(node.args[0]) != "'assay'"
            own = part(p) == "serve"  # whose handler cleans, see serve/log.py
            if named and not own and p.name not in ("libraries.py", "quiet.py"):
                wrong.append(f"{where(p, node.lineno)} has a logger that nothing cleans")
    assert wrong == []


def test_the_command_line_prints_json_through_one_function() -> None:
    wrong = [
        where(p, node.lineno)
        for p in files()
        if part(p) == "cli" and p.name != "replay.py"  # which writes a file
        for node in ast.walk(tree(p))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "json.dumps"
    ]
    assert wrong == []


def test_a_hostile_recipe_names_and_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = EVIL.replace("\x00", "").replace("\ud800", "").replace("\r", "")
    recipe = tmp_path / "mine.py"
    spelled = "".join(f"\\U{ord(c):08x}" for c in evil)
    recipe.write_text(
        f'"""A recipe {spelled} [red]x[/red].\n\nMore {spelled}.\n"""\n'
        "from assay.core import Loop, Paper\n"
        f'paper = Paper("T{spelled}", "A{spelled}", 2020, "u{spelled}")\n'
        f'def recipe(task, *, mode: str = "{spelled}", loop=Loop()):\n'
        f'    """Do it.\n\n    Args:\n        mode: The {spelled} [link=http://evil]mode[/link].\n'
        '    """\n    yield None\n',
        encoding="utf-8",
    )
    for words in (
        ["show", str(recipe)],
        ["show", str(recipe), "--json"],
        ["show", str(recipe), "--source"],
        ["cite", str(recipe)],
        ["cite", str(recipe), "--json"],
        ["run", str(recipe), "--help"],
        ["run", evil],
        ["run", str(recipe), f"--{evil}", "1"],
        ["run", str(recipe), "--world", evil],
        ["report", str(tmp_path / evil[:20])],
        ["watch", "status", evil],
        ["check", str(tmp_path / evil[:20])],
        [evil],
    ):
        cli.main(words)
        said = capsys.readouterr()
        for stream in (said.out, said.err):
            harmless(stream)
        assert "Traceback" not in said.err, said.err
        if "--json" in words:
            assert evil in json.dumps(json.loads(said.out), ensure_ascii=False).replace(
                json.dumps(evil, ensure_ascii=False)[1:-1], evil
            )
