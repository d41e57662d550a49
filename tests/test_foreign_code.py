"""Python files that a record names: only those that this user gave to assay are executed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import assay
from assay import cli
from assay.api import execution, orders
from assay.errors import InputError
from assay.records import own_code

TABLE = (
    "--world table --world.pairs 40 --world.members 1 --max-steps 1 --eval-generations 2 "
    "--watch.budget 8"
)
LABELER = "def better(prompt, first, second):\n    return 0.5\n"


@pytest.fixture(autouse=True)
def _nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's first command, in which worlds are not built: what comes before them is tried."""

    class Refused:
        def __call__(self, *asked: Any) -> Any:
            raise InputError("the world would be built now")

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(own_code, "_TYPED", set())
    monkeypatch.setattr(execution, "Worlds", Refused)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was begun with a labeler of a file, in another cache."""
    home = tmp_path_factory.mktemp("theirs")
    (home / "judge.py").write_text(LABELER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(home / "cache"))
        patch.chdir(home)
        words = ["run", "leave_one_out", *TABLE.split(), "--watch", "judge.py:better"]
        assert cli.main([*words, "--out", "sent", "-q"]) == 0
        about = json.loads((home / "sent" / "run.json").read_text())
        own_code._TYPED.clear()
        own_code.only_known_code(about, home / "sent")  # its own user goes on with it
    return home / "sent"


@pytest.fixture
def sent(whole: Path, tmp_path: Path) -> Path:
    """The run of somebody else, and beside it a file that tells that it was executed."""
    shutil.copytree(whole, tmp_path / "sent")
    ran = f"import pathlib\n\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    (tmp_path / "judge.py").write_text(f"{ran}{LABELER}")
    return tmp_path / "sent"


def test_a_record_of_somebody_else_executes_no_file_until_the_user_names_it(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Path("ran")
    for words in (
        ["run", "--resume", "--out", "sent"],
        ["run", "--from", "sent", "--out", "n"],
        ["watch", "sent", "--by", "gold"],
        ["export", "sent", "--out", "m"],
        ["report", "sent", "--json"],
    ):
        capsys.readouterr()
        code, said = cli.main(words), capsys.readouterr().err
        assert "Traceback" not in said and not ran.exists(), words
        if words[0] == "run":
            assert code == 2 and "names the Python file judge.py" in said
            assert "assay verify sent --trust-code" in said
    again = ["run", "--from", "sent", "--watch", "judge.py:better", "--out", "n", "-q"]
    assert cli.main(again) == 2 and ran.exists()
    assert "the world would be built now" in capsys.readouterr().err
    own_code._TYPED.clear()
    own_code.only_known_code(json.loads((sent / "run.json").read_text()), sent)  # remembered


def test_verify_names_the_files_and_lets_them_run(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["verify", "sent", "--trust-code"])
    assert f"sent may execute {Path('judge.py').resolve()}" in capsys.readouterr().err
    assert cli.main(["run", "--from", "sent", "--out", "n", "-q"]) == 2
    assert "the world would be built now" in capsys.readouterr().err


def test_verify_lets_no_file_of_the_run_s_own_folder_run(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = sent / "evil.py"
    own.write_text("")
    record = json.loads((sent / "run.json").read_text())
    record["arguments"] = {**record["arguments"], "rewards": ["sent/evil.py:score"]}
    (sent / "run.json").write_text(json.dumps(record))
    cli.main(["verify", "sent", "--trust-code"])
    said = " ".join(capsys.readouterr().err.split())
    assert f"sent may not execute {own.resolve()}" in said and f"may execute {own}" not in said
    with pytest.raises(InputError, match="own folder"):
        own_code.only_known_code(record, sent)


def test_python_names_its_files_again_by_passing_them(sent: Path) -> None:
    with pytest.raises(InputError, match="was begun with|is done already") as why:
        assay.train("leave_one_out", watch="judge.py:better", max_steps=9, out=sent, resume=True)
    assert "--trust-code" not in str(why.value)


@pytest.mark.parametrize("file", ["a=b/evil.py", "c,d/evil.py", "e:f/evil.py", "../evil.py"])
def test_no_name_of_a_file_hides_it(tmp_path: Path, file: str) -> None:
    (tmp_path / "run").mkdir()
    evil = tmp_path / "run" / file
    evil.parent.mkdir(exist_ok=True)
    evil.write_text("")
    about = {"recipe": "x", "arguments": {"rewards": [f"{evil}:score"]}}
    with pytest.raises(InputError, match=r"evil\.py"):
        own_code.only_known_code(about, tmp_path / "run")


def test_a_compiled_file_is_no_recipe_and_no_world(sent: Path) -> None:
    (sent / "evil.pyc").write_bytes(b"\xa7\r\r\n")
    about = json.loads((sent / "run.json").read_text())
    for more in ({"world": {"name": "sent/evil.pyc"}}, {"path": "sent/evil.pyc"}):
        with pytest.raises(InputError, match=r"evil\.pyc is not named \*\.py"):
            orders.of_record({**about, "watch": None, **more}, "sent")
