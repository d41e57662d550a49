"""A Python function as the labeler: what it is handed, what it may return, and what happens when it
fails or lies.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from assay.errors import InputError, Waiting
from assay.records.runs import read_lines
from assay.registry.functions import function_in_file
from assay.watch.config import Watch, WatchConfig
from assay.watch.labelers.agreement import agreement
from assay.watch.labelers.choose import check_labeler, make_labeler
from assay.watch.labelers.function import FunctionLabeler
from assay.watch.labelers.questions import Question, parse_label
from assay.watch.ledger import Ledger


def questions(n: int) -> list[Question]:
    return [
        Question(
            "watch f",
            5,
            (i, 0),
            f"prompt {i}",
            "a" * (i + 1),
            "b" * (n - i),
            {"row": i, "topic": "t"},
        )
        for i in range(n)
    ]


def longer(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
    return [
        0.5 if len(a) == len(b) else float(len(a) > len(b))
        for a, b in zip(first, second, strict=True)
    ]


def test_it_is_asked_one_pair_at_a_time_unless_told() -> None:
    sizes: list[int] = []

    def counted(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        sizes.append(len(prompts))
        return longer(prompts, first, second)

    said = [a.value for a in FunctionLabeler(counted, "f")(questions(5))]
    assert sizes == [1] * 5 and said == [0.0, 0.0, 0.5, 1.0, 1.0]
    sizes.clear()
    assert [
        a.value for a in FunctionLabeler(counted, "f", at_once=3)(questions(5))
    ] == said and sizes == [
        3,
        2,
    ]


def test_columns_go_to_a_function_that_wants_them() -> None:
    seen: list[dict[str, Any]] = []

    def open_(prompts: list[str], first: list[str], second: list[str], **columns: Any) -> list[str]:
        seen.append(columns)
        return ["tie"] * len(prompts)

    def some(prompts: list[str], first: list[str], second: list[str], row: list[int]) -> list[int]:
        return [int(r % 2) for r in row]

    list(FunctionLabeler(open_, "f", at_once=2)(questions(2)))
    assert seen == [{"row": [0, 1], "topic": ["t", "t"]}]
    assert [a.value for a in FunctionLabeler(some, "f")(questions(3))] == [0.0, 1.0, 0.0]


def test_one_that_fails_half_the_time_is_asked_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def flaky(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        calls.append(1)
        if len(calls) % 2:
            raise ConnectionError("gone")
        return longer(prompts, first, second)

    asked = questions(8)
    lines = Ledger(tmp_path, None).compare(asked, FunctionLabeler(flaky, "f", pause=0.001))
    assert [line["label"] for line in lines if line] == longer(
        [], [q.first for q in asked], [q.second for q in asked]
    )
    assert len(calls) == 16


def test_one_that_always_fails_makes_the_run_wait_and_is_asked_again_later(tmp_path: Path) -> None:
    def broken(*_: Any) -> list[float]:
        raise RuntimeError("no quota")

    ledger, asked = Ledger(tmp_path, None), questions(3)
    with pytest.raises(
        Waiting,
        match="f gave no label to any of 3 questions .the last: RuntimeError: no quota.; mend it",
    ):
        ledger.compare(asked, FunctionLabeler(broken, "f", tries=2, pause=0.001))
    assert read_lines(tmp_path / "labels.jsonl") == []
    assert all(Ledger(tmp_path, None).compare(asked, FunctionLabeler(longer, "f")))


def test_a_question_without_an_answer_stays_so(tmp_path: Path) -> None:
    def odd(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        if prompts == ["prompt 1"]:
            raise ValueError("too long")
        return longer(prompts, first, second)

    asked = questions(3)
    Ledger(tmp_path, None).compare(asked, FunctionLabeler(odd, "f", tries=2, pause=0.001))
    again = Ledger(tmp_path, None).compare(asked, FunctionLabeler(longer, "f"))
    assert [line and line["label"] for line in again] == [0.0, None, 1.0]
    assert again[1] is not None and again[1]["why"] == "ValueError: too long"


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1, 1.0),
        (0, 0.0),
        (0.25, 0.25),
        (True, 1.0),
        ("first", 1.0),
        (" Second ", 0.0),
        ("TIE", 0.5),
    ],
)
def test_what_a_label_may_be(value: Any, label: float) -> None:
    assert parse_label(value, "here") == label


@pytest.mark.parametrize("value", [2, -0.1, float("nan"), "better", None, [1], float("inf")])
def test_anything_else_is_never_guessed(value: Any) -> None:
    with pytest.raises(InputError, match="^here is .*; a label is 1 or 'first'"):
        parse_label(value, "here")


def test_a_function_of_one_pair_and_an_async_one() -> None:
    """The first parameter's name says which; columns come one by one likewise."""
    seen: list[Any] = []

    def one(prompt: str, a: str, b: str, topic: str, **more: Any) -> float:
        seen.append((prompt, topic, more))
        return float(len(a) > len(b))

    assert [x.value for x in FunctionLabeler(one, "f", at_once=3)(questions(3))] == [0.0, 0.0, 1.0]
    assert seen[1] == ("prompt 1", "t", {"row": 1})

    async def later(prompts: list[str], first: list[str], second: list[str]) -> list[str]:
        return ["tie"] * len(prompts)

    assert [x.value for x in FunctionLabeler(later, "f")(questions(1))] == [0.5]


def test_messages_go_to_a_function_that_names_them() -> None:
    talk = [{"role": "user", "content": "hello"}]

    def judge(
        prompts: list[str], first: list[str], second: list[str], messages: Any
    ) -> list[float]:
        assert messages == [talk, [{"role": "user", "content": "plain"}]]
        return [1.0, 0.0]

    asked = [
        Question("watch f", 0, (0,), "Human: hello", "a", "b", messages=talk),
        Question("watch f", 0, (1,), "plain", "a", "b", {"first": "a column of this name"}),
    ]
    assert [x.value for x in FunctionLabeler(judge, "f", at_once=2)(asked)] == [1.0, 0.0]


def test_a_function_of_too_few_parameters_is_refused() -> None:
    with pytest.raises(InputError, match="it must take the prompts, the first completions and"):
        FunctionLabeler(lambda prompts, first: [1.0], "f")


def test_once_names_the_line_of_the_function(tmp_path: Path) -> None:
    """Also where a library that it calls raises."""
    path = tmp_path / "mine.py"
    path.write_text("import json\ndef f(prompts, first, second):\n    return json.loads('{')\n")
    labeler = FunctionLabeler(function_in_file(f"{path}:f", "watch"), "mine.py:f")
    with pytest.raises(InputError, match=f"mine.py:f raised JSONDecodeError at line 3 of {path}"):
        labeler.once(questions(1)[0])


def test_a_live_function_is_named_by_its_file_or_its_module() -> None:
    """The record has the name and the function travels beside it. A name of a file alone will do,
    one of a module is refused.
    """
    assert Watch(labeler=longer).by.endswith("test_labelers_function.py:longer")
    check_labeler(WatchConfig(by=Watch(labeler=longer).by))
    watch = Watch(labeler=lambda prompts, first, second: longer(prompts, first, second), budget=90)
    assert watch.by.endswith("<lambda>") and watch.budget == 90
    assert replace(watch, budget=9).budget == 9 and "function" not in asdict(watch)
    by = make_labeler(watch, gold=None, folder=None, again="")
    assert [a.value for a in by(questions(2))] == [0.0, 1.0] and by.name == watch.by
    check_labeler(watch)
    with pytest.raises(InputError, match="that only the program that began the run has at hand"):
        check_labeler(WatchConfig(by=watch.by))
    assert Watch("gold").by == "gold" and Watch(by="csv").function is None
    assert asdict(Watch()) == asdict(WatchConfig()), "the defaults are the same"


def test_too_few_labels_are_a_fault() -> None:
    with pytest.raises(InputError, match="f gave 1 label for 2 pairs"):
        list(FunctionLabeler(lambda p, a, b: [1.0], "f", at_once=2)(questions(2)))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing.py:f", "there is no file nothing.py"),
        ("mine.py:other", "mine.py has no function other"),
        ("mine.py", "name a function as FILE.py:name"),
        ("bad.py:f", "bad.py cannot be imported .SyntaxError"),
        ("leaves.py:f", "leaves.py cannot be imported .SystemExit"),
        ("somebody", "--watch is 'somebody'; it is gold, FILE.py:function, csv"),
        ("http://x", "--watch.model"),
        ("ftp://x/a", "--watch is 'ftp://x/a'"),
    ],
)
def test_a_labeler_that_cannot_be_is_one_sentence(
    spec: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "def better(prompts, first, second):\n    return [1] * len(prompts)\n"
    )
    Path("bad.py").write_text("def f(:\n")
    Path("leaves.py").write_text("raise SystemExit('no key')\n")
    with pytest.raises(InputError, match=said):
        check_labeler(WatchConfig(by=spec))


def test_a_file_is_loaded_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def better(prompts, first, second):\n    return ['second'] * len(prompts)\n")
    assert function_in_file(f"{path}:better", "watch")(["p"], ["a"], ["b"]) == ["second"]
    by = make_labeler(WatchConfig(by=f"{path}:better"), gold=None, folder=None, again="")
    assert [a.value for a in by(questions(2))] == [0.0, 0.0]
    with pytest.raises(InputError, match="--watch is gold and this world has none"):
        make_labeler(WatchConfig(), gold=None, folder=None, again="")


def test_agreement_is_kappa_beyond_chance() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement .7, chance .5 (25·30/2500 + 25·20/2500),
    so kappa .4.
    """
    pairs = [(1.0, 1.0)] * 20 + [(1.0, 0.0)] * 5 + [(0.0, 1.0)] * 10 + [(0.0, 0.0)] * 15
    found = agreement(pairs)
    assert (
        found["agree"] == pytest.approx(0.7)
        and found["kappa"] == pytest.approx(0.4)
        and found["pairs"] == 50
    )
    assert 2 * found["flip"] * (1 - found["flip"]) == pytest.approx(0.3), (
        "two labels that err alike differ with 2f(1−f)"
    )
    assert 0 <= found["flip_least"] < found["flip"]
    assert agreement([])["agree"] is None and agreement([(1.0, 1.0)])["kappa"] is None
    assert agreement([(0.5, 1.0)])["flip"] is None, "a tie is no error"
