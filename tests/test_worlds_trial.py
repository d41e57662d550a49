"""Judges are called once before anything is built, and all who judge are shown the same prompt."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint

from assay import cli
from assay.core import InputError, PromptTexts
from assay.data.turns import Turn
from assay.records.runs import read_lines
from assay.rewards.function import FunctionReward
from assay.watch import Watch, WatchConfig
from assay.watch.labelers.questions import STAND_INS
from assay.worlds import hub
from assay.worlds.trial import try_judges, try_labeler, try_rewards

JUDGES = """
import json
CALLS = []
def length(prompts, completions, **columns):
    note("score", prompts, columns)
    return [float(len(c)) for c in completions]
def better(prompts, first, second, want, messages=None, **columns):
    note("better", prompts, {"want": want, "messages": messages, **columns})
    return [0.5] * len(prompts)
def note(what, prompts, columns):
    with open("calls.jsonl", "a") as f:
        f.write(json.dumps([what, prompts, columns]) + "\\n")
def broken(prompts, completions):
    return prompts.lower()
def scalar(prompts, completions):
    return 1.0
def worse(prompts, first, second):
    return [first[0] - second[0]]
def none(prompts, first, second):
    return None
"""
ROWS = [
    {"prompt": f"tell me about the {a} {b}", "want": "e", "other": i}
    for i, (a, b) in enumerate(product(("old", "new", "grey", "wet"), ("mill", "gate", "pond")))
]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judges.py").write_text(JUDGES)
    (tmp_path / "asks.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


def calls() -> list[Any]:
    return lines_of(Path("calls.jsonl"))


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


HUB = ["--world", "hub", "--world.policy", "no/such/model", "--world.prompts", "asks.jsonl"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--world.rewards", "judges.py:broken"],
            "--rewards failed in a trial call, before anything was built: reward broken raised "
            "AttributeError at line 14 of",
        ),
        (["--world.rewards", "judges.py:scalar"], "returned a float for 2 completions"),
        (
            ["--world.rewards", "judges.py:length", "--world.gold", "judges.py:broken"],
            "--gold failed in a trial call",
        ),
        (
            ["--world.rewards", "judges.py:length", "--watch", "judges.py:worse"],
            "the labeler judges.py:worse raised TypeError at line 18 of",
        ),
        (
            ["--world.rewards", "judges.py:length", "--watch", "judges.py:none"],
            "judges.py:none returned 'None'",
        ),
    ],
)
def test_a_judge_that_fails_is_one_sentence_before_the_model_is_looked_for(
    flags: list[str], said: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "leave_one_out", *HUB, *flags, "--out", "a"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and "no/such/model" not in line
    assert not Path("a").exists()


def test_a_sweep_stops_before_its_first_run(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "leave_one_out", *HUB, "--world.rewards", "judges.py:broken"]
    assert cli.main([*words, "--seeds", "0..5", "--out", "s"]) == 2
    out, err = capsys.readouterr()
    assert err.count("AttributeError") == 1 and "1 of 6" not in out


def test_each_judge_is_called_once_on_the_first_prompt(files: Path) -> None:
    arguments = {"prompts": "asks.jsonl", "rewards": ["judges.py:length"]}
    try_judges(arguments, WatchConfig(by="judges.py:better"))
    first = ROWS[0]["prompt"]
    assert [(what, prompts) for what, prompts, _ in calls()] == [
        ("score", [first, first]),
        ("better", [first]),
    ]
    assert calls()[0][2] == {"want": ["e", "e"], "other": [0, 0]}
    try_judges(arguments, None)
    assert len(calls()) == 2, "an unchanged function is not called again for the same prompt"
    try_judges({"prompts": "none.jsonl"}, WatchConfig())  # nothing to try, so nothing is read


def test_a_live_function_is_tried_and_none_is_allowed() -> None:
    prompts = PromptTexts(str, ["2 + 2?"], [None], {"answer": [4]})
    seen: list[Any] = []

    def score(prompts: list[str], completions: list[str], answer: list[int]) -> list[None]:
        seen.append((prompts, completions, answer))
        return [None] * len(completions)

    try_rewards([FunctionReward(score, "score")], "rewards", prompts, [0])
    assert seen == [(["2 + 2?"] * 2, list(STAND_INS), [4, 4])]
    with pytest.raises(InputError, match="--watch failed in a trial call.* KeyError"):
        try_labeler(Watch(lambda prompts, first, second: {}["x"]), prompts)


def test_a_trial_takes_a_reward_that_is_not_finite_as_the_run_will(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nan = "def nan(prompts, completions):\n    return [float('nan')] * len(prompts)\n"
    (files / "nan.py").write_text(nan)
    run = ["run", "grpo", *HUB, "--world.rewards", "nan.py:nan", "--out", "r"]
    assert cli.main(run) == 2
    said = capsys.readouterr().err
    assert "reward nan returned nan for completion 0" in said
    assert "leave such completions out with --nonfinite-rewards skip" in said
    assert cli.main([*run[:-4], "--rewards", "judges.py:length", "--gold", "nan.py:nan"]) == 2
    assert "--nonfinite-rewards" not in capsys.readouterr().err, "it is about rewards alone"
    assert cli.main([*run, "--nonfinite-rewards", "skip"]) == 2
    assert "no/such/model" in capsys.readouterr().err, "the trial went well"


def test_a_list_of_one_score_fails_the_trial() -> None:
    prompts = PromptTexts(str, ["2 + 2?"], [None], {})
    one = FunctionReward(lambda prompts, completions: [1.0], "one")
    with pytest.raises(InputError, match="returned 1 value for 2 completions"):
        try_rewards([one], "rewards", prompts, [0])
    short = Watch(lambda prompts, first, second: [1.0], at_once=4)
    with pytest.raises(InputError, match="gave 1 label for 2 pairs"):
        try_labeler(short, prompts)
    try_labeler(Watch(lambda prompts, first, second: [1.0]), prompts)  # one pair a call in the run


@pytest.mark.parametrize(
    ("score", "takes"),
    [
        (lambda a, b: [0.0], r"\(a, b\)"),
        (lambda p, c: [0.0], r"\(p, c\)"),
        (lambda prompts, completions, /: [0.0], r"\(prompts, completions, /\)"),
        (lambda completions: [0.0], r"\(completions\)"),
    ],
)
def test_a_reward_with_other_parameters_is_told_what_to_write(score: Any, takes: str) -> None:
    with pytest.raises(InputError, match=rf"reward score takes {takes}; write it as score\("):
        FunctionReward(score, "score")


def test_a_proxy_that_applied_to_nothing_is_no_number(files: Path) -> None:
    """What fills in for missing scores is 0, and a reading must not hold it as a measurement."""
    Path("never.py").write_text("def never(prompts, completions): return [None] * len(prompts)\n")
    model = str(checkpoint(files / "model", "llama"))
    flags = ["--model", model, "--prompts", "asks.jsonl", "--rewards", "never.py:never"]
    flags += ["--gold", "judges.py:length", "--held-out", "2", "--max-tokens", "2"]
    flags += ["--batch-size", "2", "--num-generations", "2", "--eval-generations", "2"]
    assert cli.main(["run", "leave_one_out", *flags, "--max-steps", "1", "--out", "a"]) == 4
    readings = read_lines(Path("a/readings.jsonl"))
    assert readings and all(r["proxy"] is None and r["gold"] is not None for r in readings)


def test_all_who_judge_read_the_file_s_text_and_its_columns(files: Path) -> None:
    """With a chat template: rewards, the labeler, questions.jsonl and samples.jsonl."""
    model = str(checkpoint(files / "model", "llama"))
    flags = [
        *("--world", "hub", "--world.policy", model, "--world.prompts", "asks.jsonl"),
        *("--held-out", "6", "--max-tokens", "4", "--max-steps", "2"),
        *("--world.rewards", "judges.py:length", "--eval-steps", "1", "--eval-generations", "1"),
        *("--batch-size", "2", "--num-generations", "2", "--watch", "judges.py:better"),
    ]
    assert cli.main(["run", "leave_one_out", *flags, "--out", "a"]) == 0
    texts = {r["prompt"]: r for r in ROWS}
    asked = read_lines(Path("a/questions.jsonl"))
    assert asked and all(q["prompt"] in texts for q in asked)
    assert all(q["columns"] == {k: texts[q["prompt"]][k] for k in ("want", "other")} for q in asked)
    assert {r["prompt"] for r in read_lines(Path("a/samples.jsonl"))} <= set(texts)
    labeled = [(p, c) for what, p, c in calls() if what == "better"]
    assert len(labeled) == 1 + len(asked), "a trial call, and one call a label"
    for (prompt,), columns in labeled:
        assert columns["messages"] == [[{"role": "user", "content": prompt}]]
        assert columns["other"] == [texts[prompt]["other"]] and columns["want"] == ["e"]
    assert cli.main(["watch", "status", "a"]) == 0, "of a run that a function watched"


def test_fresh_prompts_of_a_file_go_through_the_template_and_keep_their_columns(
    files: Path,
) -> None:
    from assay.watch.prompts import read_prompts

    made = hub.world(
        policy=str(checkpoint(files / "model", "llama")),
        prompts="asks.jsonl",
        held_out=4,
        max_tokens=4,
        rewards=("judges.py:length",),
    )
    Path("fresh.jsonl").write_text('{"prompt": "another mill", "want": "x"}\n')
    fresh = read_prompts("fresh.jsonl", made.task)
    assert fresh.text() == ["another mill"] and fresh.decode.columns == {"want": ["x"]}  # type: ignore[union-attr]
    same = read_prompts("asks.jsonl", made.task)
    row = int(made.task.prompts.row[0])
    own = made.task.prompts.tokens[0][made.task.prompts.mask[0]]
    assert torch.equal(same.tokens[row][same.mask[row]], own), "encoded as the world's own are"
    x = made.task.reference.sample(fresh, 1, made.task.rng("look"))
    made.task.rewards(x)
    assert calls()[-1][:2] == ["score", ["another mill"]] and calls()[-1][2] == {"want": ["x"]}


def test_a_function_gets_messages_and_texts_if_it_asks() -> None:
    """TRL's convention without the parameter: a conversation comes as messages."""
    seen: list[Any] = []

    def asks(prompts: Any, completions: Any, messages: Any) -> list[float]:
        seen.append((prompts, completions, messages))
        return [0.0]

    def plain(prompts: Any, completions: Any) -> list[float]:
        seen.append((prompts, completions))
        return [0.0]

    talk = [{"role": "user", "content": "hello"}]
    for f in (asks, plain):
        FunctionReward(f, "f").scores(["hello"], ["hi"], [(Turn("user", "hello"),)])
    assert seen == [
        (["hello"], ["hi"], [talk]),
        ([talk], [[{"role": "assistant", "content": "hi"}]]),
    ]
