"""A judge of answers behind HTTP, against a real server in a process of its own that fails, and
says what it should not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from answering import servers
from families import checkpoint

from assay.core import InputError
from assay.data.turns import Turn
from assay.rewards.function import FunctionReward
from assay.rewards.http import reward_at
from assay.rewards.load import open_reward
from assay.worlds import hub

ASKS = ["one", "two", "three", "four", "five"]
SAID = ["a", "a b", "a b c", "", "a b c d e"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., str]]:
    with servers("score_server.py", tmp_path / "log") as begin:
        yield lambda mode: f"{begin(mode)}/score"


@pytest.fixture
def judge(start: Callable[..., str]) -> Callable[..., FunctionReward]:
    return lambda mode, **settings: reward_at(
        start(mode), "world.rewards", **{"pause": 0.01, **settings}
    )


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text(encoding="utf-8").splitlines()]


def test_scores_come_back_in_order_whatever_the_batches(
    judge: Callable[..., FunctionReward], tmp_path: Path
) -> None:
    by = judge("plain", batch=2, at_once=3)
    scores = by.scores(
        ASKS, SAID, None, {"skip": [False, True, False, False, False], "n": list(range(5))}
    )
    assert scores.isnan().tolist() == [[False, True, False, False, False]]
    assert scores.nan_to_num(-1).tolist() == [[1, -1, 3, 0, 5]]
    calls = sorted(log(tmp_path), key=lambda c: c["columns"]["n"][0])
    assert [c["completions"] for c in calls] == [SAID[:2], SAID[2:4], SAID[4:]] and calls[0][
        "prompts"
    ] == ASKS[:2]
    assert (
        by.names[0].startswith("127.0.0.1:")
        and by.names[0].endswith("/score")
        and calls[0]["path"] == "/score"
    )
    assert by.scores([], []).shape == (1, 0)


def test_conversations_go_as_messages_and_hostile_text_as_text(
    judge: Callable[..., FunctionReward], tmp_path: Path
) -> None:
    nasty = '"}], "scores": [9], \ud800 \x00 __import__("os")'
    assert judge("plain").scores(
        ["p", "q"], [nasty, "x"], [None, (Turn("user", "q"),)]
    ).tolist() == [[6, 1]]
    sent = log(tmp_path)[0]
    assert sent["completions"] == [nasty, [{"role": "assistant", "content": "x"}]]
    assert sent["prompts"] == ["p", [{"role": "user", "content": "q"}]]


def test_a_server_that_fails_half_the_time_costs_patience_alone(
    judge: Callable[..., FunctionReward], tmp_path: Path
) -> None:
    assert judge("half", batch=2, at_once=1).scores(ASKS, SAID).tolist() == [[1, 2, 3, 0, 5]]
    assert len(log(tmp_path)) == 6


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (
            "moved",
            "refused 5 completions with HTTP 302 .*: give the address that the server answers at",
        ),
        (
            "short",
            "answered 5 completions with 4 scores ...scores.: .2, 3, 0, 5...; answer "
            "..scores.: .5 numbers.., one per completion and null where",
        ),
        ("text", "answered 5 completions with no list of 5 scores ...scores.: .9 of 10"),
        ("deep", "answered 5 completions with what is not JSON"),
        ("busy", "in 2 tries .HTTP 503.; start the server there, or give its address"),
        ("words", "returned 'good' for completion 0; return a finite number"),
        ("nan", "returned nan for completion 0"),
        ("huge", "returned 1000.* for completion 0"),
        ("refuse", "refused 5 completions with HTTP 422 .no field .2J comp"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    mode: str, said: str, judge: Callable[..., FunctionReward]
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        judge(mode, tries=2).scores(ASKS, SAID)
    assert str(caught.value).isprintable()


def test_nobody_there_and_no_address(judge: Callable[..., FunctionReward]) -> None:
    with pytest.raises(
        InputError,
        match="--world.gold: http://127.0.0.1:9/x gave no scores .* start the server there",
    ):
        reward_at("http://127.0.0.1:9/x", "world.gold", tries=2, pause=0.01).scores(ASKS, SAID)
    for bad in ("http://", "http://host:port/x"):
        with pytest.raises(InputError, match="an address such as"):
            open_reward(bad, "world.rewards")
    with pytest.raises(InputError, match="the column 'when' holds what JSON cannot say"):
        judge("plain").scores(["p"], ["a"], None, {"n": [1], "when": [b"bytes"]})


def test_the_key_comes_from_the_environment(
    judge: Callable[..., FunctionReward], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_REWARD_KEY", "s3cret")
    monkeypatch.setenv("OPENAI_API_KEY", "another server's")
    judge("plain").scores(ASKS, SAID)
    assert log(tmp_path)[0]["key"] == "Bearer s3cret"


def test_as_a_judge_and_as_gold_of_a_real_model(start: Callable[..., str], tmp_path: Path) -> None:
    rows = [
        {"prompt": f"the {a} {b}", "skip": b == "day"}
        for a in ("old", "new", "wet")
        for b in ("mill", "day", "pond")
    ]
    (tmp_path / "asks.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    made = hub.world(
        policy=str(checkpoint(tmp_path / "model", "llama")),
        prompts=str(tmp_path / "asks.jsonl"),
        held_out=2,
        max_tokens=6,
        rewards=(start("plain"),),
        gold=start("plain"),
    )
    x = made.task.reference.sample(made.task.prompts, 3, made.task.rng("look"))
    scores = made.task.rewards(x)[0]
    texts = x.text()
    for b, row in enumerate(x.prompts.row.tolist()):
        want = [None if rows[row]["skip"] else float(len(t.split())) for t in texts[b]]
        assert [None if v != v else v for v in scores[b].tolist()] == want
    assert made.gold is not None and torch.equal(
        made.gold(x)[0].nan_to_num(-1), scores.nan_to_num(-1)
    )
