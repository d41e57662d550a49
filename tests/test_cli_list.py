"""What programs read of the catalogue: complete, quick, and without torch."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from assay import cli
from assay.errors import InputError
from assay.registry import catalogue

GOOD = '''"""About."""
paper = Paper("A title", "Somebody", 2020, "arXiv:2001.00001")
reduces = {"parent": ({"lam": 0.0}, {})}
def recipe(task, *, lam=0.5, loop=None): ...
'''


def python(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=check, timeout=120
    )


def processor_seconds(*commands: tuple[str, ...]) -> list[float]:
    """Of each command the cheapest of five, by turns: what a busy machine changes little."""
    took: list[list[float]] = [[] for _ in commands]
    # With it every command compiles the package anew, which no installed one does.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(5):
        for words, mine in zip(commands, took, strict=True):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, *words], capture_output=True, check=True, timeout=120, env=env
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            mine.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return [min(t) for t in took]


def test_list_json_is_complete() -> None:
    found = json.loads(python("-m", "assay", "list", "--json").stdout)
    names = {p.stem for p in (catalogue.HOME / "recipes").glob("*.py")} - {"__init__"}
    assert {e["name"] for e in found if e["verb"] != "world"} == names
    assert {e["name"] for e in found if e["verb"] == "world"} == set(catalogue.worlds())
    for e in found:
        assert set(e) == {"name", "verb", "title", "path", "reduces", "needs"}
        assert e["verb"] in ("recipe", "fit", "study", "world")
        assert e["title"]
        assert Path(e["path"]).is_file()
        assert set(e["reduces"]) <= names, "a parent that is not there"


def test_list_and_claims_need_no_torch() -> None:
    code = (
        "import sys\nfrom assay.cli import main\n"
        "assert main(['list', '--json']) == 0\nassert main(['cite', 'dpo']) == 0\n"
        "heavy = {'torch', 'numpy', 'transformers', 'tqdm'} & set(sys.modules)\nassert not heavy, "
        "heavy"
    )
    assert python("-c", code).returncode == 0


@pytest.mark.skipif(
    bool(os.environ.get("ASSAY_NO_CLOCK")), reason="a machine too busy to time anything on"
)
def test_list_and_import_are_quick() -> None:
    # Against what reading the same files takes here: a limit in seconds is another on each machine.
    reading = (
        "import ast, pathlib\n"
        f"for p in pathlib.Path({str(catalogue.HOME / 'recipes')!r}).glob('*.py'):\n"
        "    ast.parse(p.read_text(encoding='utf-8'))"
    )
    files, listing, importing = processor_seconds(
        ("-c", reading), ("-m", "assay", "list", "--json"), ("-c", "import assay")
    )
    assert listing < 3 * files
    assert importing < files / 2


def test_a_bad_file_is_named_and_the_others_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "good.py").write_text(GOOD)
    bad = {
        "broken.py": "def recipe(:",
        "two.py": GOOD + "def fit(): ...\n",
        "none.py": "x = 1\n",
        "bytes.py": "",
        "short.py": GOOD.replace(', "arXiv:2001.00001"', ""),
        "computed.py": GOOD.replace('"A title"', "title()"),
        "reduces.py": GOOD.replace('{"parent": ({"lam": 0.0}, {})}', "[1]"),
    }
    for name, text in bad.items():
        (folder / name).write_text(text)
    (folder / "bytes.py").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setattr(catalogue, "HOME", tmp_path)
    assert cli.main(["list", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [e["name"] for e in json.loads(out)] == ["good"]
    assert json.loads(out)[0]["reduces"] == {"parent": [{"lam": 0.0}, {}]}
    for name in bad:
        assert name in err
    assert len(err.splitlines()) == len(bad)
    with pytest.raises(InputError, match="broken cannot be used"):
        catalogue.find("broken")


def test_listing_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "loud.py").write_text(GOOD + "raise SystemExit('this file was run')\n")
    monkeypatch.setattr(catalogue, "HOME", tmp_path)
    assert [e.name for e in catalogue.entries()] == ["loud"]


def test_every_recipe_is_fit_to_be_run() -> None:
    """Its constants are typed, its defaults are JSON values, and none has the name of a flag that
    every run has.
    """
    from assay.api import settings
    from assay.api.values import value
    from assay.registry.parameters import REQUIRED

    for entry in catalogue.entries():
        assert entry.fault is None
        assert entry.about
        if entry.verb != "recipe":
            continue
        for name in catalogue.worlds():
            for flag in settings.known(entry, name).values():  # raises where names collide
                if flag.default is REQUIRED or flag.name in settings.loop():
                    continue
                text = flag.default if isinstance(flag.default, str) else json.dumps(flag.default)
                assert value(text, flag.type, flag.name) == flag.default, (
                    f"{entry.name} --{flag.name}"
                )


def test_show_prints_the_text_itself() -> None:
    source = python("-m", "assay", "show", "leave_one_out", "--source").stdout
    assert source == (catalogue.HOME / "recipes" / "leave_one_out.py").read_text(encoding="utf-8")
    told = json.loads(python("-m", "assay", "show", "uncertainty_weighted", "--json").stdout)
    lam = told["constants"]["lam"]
    assert (lam["type"], lam["default"]) == ("a number", 0.5)
    assert lam["help"], "what the docstring says of it"
    assert told["reduces"] == {"mean_ensemble": [{"lam": 0.0}, {}]}
    said = python("-m", "assay", "show", "ppo").stdout
    assert re.search(r"--epochs +2\n", said)
    assert "\nClaim\n" in said


def test_cite_is_bibtex_and_escapes_what_latex_reads() -> None:
    text = python("-m", "assay", "cite", "dpo", "leave_one_out").stdout
    assert text.count("@misc{") == 2
    assert "eprint = {2305.18290}" in text
    entry = catalogue.Entry(
        "x",
        Path("x.py"),
        paper={"title": "A & B_2", "authors": "C et al.", "year": 2020, "url": "https://a/b_c"},
    )
    assert r"title = {{A \& B\_2}}" in catalogue.bibtex(entry)
    assert "author = {C and others}" in catalogue.bibtex(entry)
    assert "url = {https://a/b_c}" in catalogue.bibtex(entry)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lst"], "there is no command 'lst'; did you mean list?"),
        (["list", "more"], "assay list takes no arguments, and found 'more'; assay show more"),
        (["list", "--jsn"], "assay list has no --jsn; did you mean --json?"),
        (["show"], "NAME is required: a name that `assay list` has"),
        (
            ["show", "leave_one_in"],
            "there is no recipe 'leave_one_in'; did you mean leave_one_out?",
        ),
        (["show", "./nowhere.py"], "there is no file ./nowhere.py"),
        (["cite"], "assay cite needs the name of a paper"),
        (["cite", "dpoo"], "did you mean dpo?"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_usage_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"│ {verb} " in told for verb in cli.VERBS if " " not in verb)
    for verb in cli.VERBS:
        assert cli.main([*verb.split(), "--help"]) == 0
        assert f"assay {verb}" in capsys.readouterr().out


def test_every_flag_of_a_verb_says_what_it_does() -> None:
    from assay.cli.files import FUNCTIONS

    for verb in cli.VERBS.values():
        assert verb.summary().endswith("."), verb.name
        if verb.name in FUNCTIONS:
            continue  # their flags are documented where their functions are
        grammar = verb.grammar()
        own = [f for f in grammar.flags.values() if "." not in f.name and f.group != "Watch"]
        assert [f.name for f in own if not f.help] == [], verb.name
        assert all(w.help for w in grammar.words), verb.name


def test_help_shows_a_models_flags_under_what_they_are_about() -> None:
    from assay.api import settings

    found = settings.world_flags("hub").values()
    assert {f.name for f in found if f.group == "World"} == {"world.seed"}
    assert {f.group for f in found if ".sampler" in f.name} == {"Sampling"}
