"""check, fit, score and bon from the outside: words and flags reach the functions, faults are
sentences, codes are right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay import cli
from assay.errors import InputError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    return name


def pairs(n: int = 30) -> list[dict[str, Any]]:
    return [
        {"prompt": f"question {i}", "chosen": f"a good answer {i}", "rejected": f"a bad answer {i}"}
        for i in range(n)
    ]


def responses() -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"q{b}",
            "response": "good " * n or "none",
            "truth": float(n),
            "guess": float(-n),
        }
        for b in range(6)
        for n in range(4)
    ]


def test_from_pairs_to_a_curve(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", write("pairs.jsonl", pairs()), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["rows"], found["ok"]) == ("pairs", 30, True)

    fit = [
        "fit",
        "--pairs",
        "pairs.jsonl",
        "-o",
        "reward",
        "--members",
        "2",
        "--folds",
        "3",
        "--out-of-fold",
        "held.jsonl",
    ]
    assert cli.main(fit) == 0
    said = capsys.readouterr().out.splitlines()
    assert "wrote reward: 2 members on words, and fit.json with all of the above" in said
    assert said[-1] == "next: assay run grpo --model MODEL --prompts PROMPTS.jsonl --rewards reward"
    assert len(Path("held.jsonl").read_text().splitlines()) > 0

    assert cli.main(["score", "reward", "pairs.jsonl", "-o", "scored.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 30
    assert found["accuracy"] > 0.9, "good and bad are told apart by the words themselves"

    curve = ["bon", write("r.jsonl", responses()), "--gold", "truth", "--ns", "1,4", "--json"]
    assert cli.main([*curve, "--proxy", "guess"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ns"] == [1, 4]
    assert found["oracle"]["gold"] == pytest.approx([1.5, 3.0]), "the mean of 0…3, and their best"
    assert found["curves"]["guess"]["gold"] == pytest.approx([1.5, 0.0]), (
        "the proxy likes the worst"
    )
    assert cli.main(["bon", "--scores", "r.jsonl", "--gold", "truth", "--proxy", "guess"]) == 0
    assert "guess: highest at n = 1" in capsys.readouterr().out


def test_check_says_what_is_wrong_and_exits_two(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*pairs(3), {"prompt": "x", "chosen": None, "rejected": "b"}]
    assert cli.main(["check", write("bad.jsonl", rows)]) == 2
    out, err = capsys.readouterr()
    assert "bad.jsonl, line 4, column 'chosen': null" in out
    assert err == "assay: bad.jsonl has 1 error\n"
    assert cli.main(["check", "bad.jsonl", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_renamed_columns_go_by_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"question": r["prompt"], "better": r["chosen"], "worse": r["rejected"]} for r in pairs()
    ]
    words = [
        "check",
        write("odd.jsonl", rows),
        "--columns",
        "prompt=question,chosen=better,rejected=worse",
        "--json",
    ]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "pairs"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check"], "assay check needs FILE: a file"),
        (["check", "nothing.jsonl"], "nothing.jsonl"),
        (["check", "p.jsonl", "q.jsonl"], "assay check has no place for 'q.jsonl'"),
        (["check", "p.jsonl", "--limt", "3"], "assay check has no --limt; did you mean --limit?"),
        (
            ["check", "p.jsonl", "--limit", "many"],
            "--limit is 'many', and a whole number or null was expected",
        ),
        (["fit", "p.jsonl"], "assay fit needs --out"),
        (["fit", "p.jsonl", "-o", "p.jsonl"], "never overwritten"),
        (
            ["fit", "p.jsonl", "-o", "x", "--member", "2"],
            "assay fit has no --member; did you mean --members?",
        ),
        (["fit", "p.jsonl", "-o", "x", "--members", "0"], "--members is 0"),
        (["score", "p.jsonl", "-o", "x"], "assay score needs FILE"),
        (["score", "nowhere", "p.jsonl", "-o", "x"], "'nowhere', which does not exist here"),
        (["evaluate", "nowhere", "p.jsonl"], "'nowhere', which does not exist here"),
        (["evaluate"], "assay evaluate needs REWARD"),
        (["fit", "p.jsonl", "-o", "x", "--held-out-share", "1"], "--held-out-share is 1.0"),
        (["fit", "p.jsonl", "-o", "x", "--held-out", "p.jsonl"], "all 4 prompts of p.jsonl are"),
        (["fit", "p.jsonl", "-o", "x", "--folds", "2", "--held-out-share", ".5"], "give one of"),
        (["bon", "p.jsonl"], "assay bon needs --gold"),
        (["bon", "p.jsonl", "--gold", "chosn"], "'chosn'"),
        (["bon", "p.jsonl", "--gold", "rejected", "--ns", "1,b"], "--ns is '1,b'"),
        (
            ["bon", "p.jsonl", "--gold", "rejected", "--draws", "0"],
            "--draws is 0; an interval needs at least 1",
        ),
        (
            ["bon", "p.jsonl", "--gold", "nope"],
            "p.jsonl has no column 'nope'; it has prompt, chosen, rejected\n",
        ),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("p.jsonl", pairs(4))
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not Path("x").exists()


def test_what_comes_next_has_the_flags_that_were_given(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"q": r["prompt"], "good": r["chosen"], "bad": r["rejected"]} for r in pairs()]
    renamed = ["--columns", "prompt=q,chosen=good,rejected=bad"]
    assert cli.main(["check", write("p.jsonl", rows), *renamed]) == 0
    command = f"assay fit p.jsonl --out reward {' '.join(renamed)}"
    assert f"next: {command}\n" in capsys.readouterr().err
    assert cli.main([*command.split()[1:], "--members", "1", "--folds", "0"]) == 0
    asked = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    ]
    assert cli.main(["check", write("chats.jsonl", asked)]) == 0
    assert "next: assay run sft --model MODEL --demos chats.jsonl\n" in capsys.readouterr().err


def test_a_file_without_scores_is_told_how_to_get_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bon", write("rows.jsonl", responses()), "--gold", "truth"]) == 2
    said = capsys.readouterr().err
    assert "assay score writes that column" in said and "--proxy length" in said
    assert cli.main(["bon", "rows.jsonl", "--gold", "truht"]) == 2
    assert "assay score" not in capsys.readouterr().err


def test_score_takes_its_file_by_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--help"]) == 0
    usage = capsys.readouterr().out.splitlines()[0]
    assert usage == "Usage: assay score REWARD FILE --out PATH [OPTIONS]"
    assert cli.main(["score", "reward", "rows.jsonl"]) == 2
    assert "assay score needs --out: the file to write" in capsys.readouterr().err.replace("T", "t")


def test_the_address_of_a_server_reaches_score_as_it_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def opened(spec: str, *rest: object, **more: object) -> None:
        raise InputError(f"opened {spec}")

    monkeypatch.setattr("assay.rewards.score_file.open_reward", opened)
    rows = write("rows.jsonl", responses())
    assert cli.main(["score", "http://127.0.0.1:9/v1/score", rows, "-o", "scored.jsonl"]) == 2
    assert "opened http://127.0.0.1:9/v1/score" in capsys.readouterr().err
