"""A reward that does not apply is no measurement: not in training, in a reading or in a report."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from torch import Tensor

from assay import cli
from assay.core import Loop, Samples
from assay.core.reward import Checked
from assay.evaluation.alerts import Alerts
from assay.loops import fill_missing, online, scores_and_missing
from assay.loops.missing import missing_stats, without_missing
from assay.loops.scoring import aggregator
from assay.loops.statistics import completion_stats
from assay.records.result import without_reward
from assay.records.runs import Run, read_lines
from assay.worlds import table

NAN = math.nan
JUDGES = """
def never(prompts, completions): return [None] * len(prompts)
def length(prompts, completions): return [float(len(c)) for c in completions]
def mills(prompts, completions, some):
    return [float(len(c)) if s else None for c, s in zip(completions, some)]
"""


class Says:
    """A partial reward of M members with the scores that it is given."""

    partial = True

    def __init__(self, scores: Tensor):
        self.given, self.names = scores, tuple(f"r{m}" for m in range(len(scores)))

    def __call__(self, samples: Samples) -> Tensor:
        return self.given


def completions(B: int, N: int) -> Samples:
    task = table.world(seed=0).task
    return task.reference.sample(task.prompts[:B], N, task.rng("missing"))


def test_a_member_that_does_not_apply_at_a_prompt_is_left_out_of_the_mean() -> None:
    x = completions(4, 2)
    scores = torch.tensor(
        [
            [[1.0, 3.0], [NAN, NAN], [NAN, NAN], [NAN, 5.0]],
            [[2.0, 2.0], [4.0, NAN], [NAN, NAN], [7.0, 9.0]],
        ]
    )
    filled = fill_missing(Checked(Says(scores)))
    for name, want in (
        ("mean", [[1.5, 2.5], [4, 4], [0, 0], [6, 7]]),
        ("worst", [[1, 2], [4, 4], [0, 0], [5, 5]]),
    ):
        combine = aggregator(name)
        found, missing = scores_and_missing(lambda y, f=combine: f(filled(y)), x)
        assert found.tolist() == want
        assert missing is not None
        assert missing.tolist() == [[False] * 2, [False, True], [True] * 2, [False] * 2]
        shown = without_missing(found, missing)
        assert shown.isnan().equal(missing) and shown[~missing].equal(found[~missing])


def test_scores_of_other_completions_and_of_complete_rewards_are_not_missing() -> None:
    x, other = completions(2, 2), completions(2, 2)
    none = fill_missing(Checked(Says(torch.full((1, 2, 2), NAN))))
    assert scores_and_missing(lambda y: none(other)[0], x)[1] is None
    assert scores_and_missing(lambda y: torch.ones(2, 2), x)[1] is None
    found, missing = scores_and_missing(lambda y: none(y)[0], x)
    assert missing is not None and missing.all() and found.eq(0).all()
    decisions = without_missing(torch.zeros(2, 2, 3), missing)
    assert decisions.isnan().all(), "a reward of each decision is blank as a whole"


def test_statistics_leave_out_what_is_filled_in() -> None:
    x = completions(3, 2)
    reward = torch.tensor([[1.0, 3.0], [4.0, 4.0], [0.0, 0.0]])
    missing = torch.tensor([[False, False], [False, True], [True, True]])
    said = completion_stats(x, reward, missing)
    assert said["reward"] == pytest.approx((1 + 3 + 4) / 3)
    assert said["frac_reward_missing"] == 0.5
    # the second prompt's completions are trained on as equal; the third has no reward at all
    assert said["frac_reward_zero_std"] == 0.5
    none = completion_stats(x, reward, torch.ones(3, 2, dtype=torch.bool))
    assert none["frac_reward_missing"] == 1
    assert not {"reward", "reward_std", "frac_reward_zero_std"} & none.keys()
    assert "frac_reward_missing" not in completion_stats(x, reward)
    assert missing_stats([(x, missing), (x, None), (x, ~missing)]) == {"frac_reward_missing": 0.5}


def reading(step: int, *rewards: float | None, **stats: float) -> dict[str, Any]:
    proxy = None if None in rewards else 1.0
    return {"step": step, "n": 64, "rewards": list(rewards), "proxy": proxy, "stats": stats}


def test_a_reward_is_named_once_and_not_again_after_a_resume(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = [
        reading(0, 1.0, None),
        reading(5, 1.0, None, frac_reward_missing=1.0),
        reading(9, None, None, frac_reward_missing=1.0),
    ]
    with caplog.at_level(logging.WARNING, "assay"):
        alerts = Alerts(names=["length", "format"])
        for r in made[:2]:
            alerts(r)
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("format scored none of 64 completions at step 0: ")
        alerts(made[2])
        assert len(caplog.messages) == 2
        assert caplog.messages[1].startswith("length scored none of 64 completions at step 9: ")
        Alerts(made, ["length", "format"])(reading(12, None, None, frac_reward_missing=1.0))
        assert len(caplog.messages) == 2
    assert alerts.result() == {"unscored": ["format"], "unrewarded": True}


def test_steps_without_a_reward_are_told_where_readings_have_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alerts = Alerts(names=["length"])
    with caplog.at_level(logging.WARNING, "assay"):
        alerts(reading(0, 1.0))
        alerts(reading(5, 1.0, frac_reward_missing=0.9))
        assert not caplog.messages and alerts.result() == {}
        alerts(reading(10, 1.0, frac_reward_missing=1.0))
    assert [m.partition(",")[0] for m in caplog.messages] == [
        "no reward applied to any completion in steps 6 to 10"
    ]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judges.py").write_text(JUDGES)
    rows = [{"prompt": f"the {c} mill", "some": i % 2} for i, c in enumerate("abcdefgh")]
    (tmp_path / "asks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    checkpoint(tmp_path / "model", "llama")
    return tmp_path


FLAGS = [
    *("--model", "model", "--prompts", "asks.jsonl", "--held-out", "4", "--max-tokens", "3"),
    *("--batch-size", "2", "--num-generations", "2", "--max-steps", "2", "--eval-steps", "1"),
    *("--eval-generations", "16"),
]


def run(*flags: str, code: int = 0) -> tuple[Run, list[Any]]:
    assert cli.main(["run", "leave_one_out", *FLAGS, *flags, "--out", "out"]) == code
    return Run.open(Path("out")), read_lines(Path("out/readings.jsonl"))


def test_a_reward_that_never_applies_is_a_dash_one_warning_and_a_word_at_the_end(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than 64 completions: until now, that was an error."""
    made, readings = run("--rewards", "judges.py:never", code=4)
    out, err = capsys.readouterr()
    assert "0.000" not in out and out.count("proxy              –") == 3
    assert "no reward 100 %" in out and "reward 0" not in out
    assert err.count("never scored none of 64 completions at step 0: ") == 1
    assert err.count("scored none") == 1 and "step 2: no reward applied to any completion" in err
    told = "never applied to no completion of any reading; no training step had a reward"
    assert f"reward:  {told}" in err
    assert all(r["proxy"] is None and r["rewards"] == [None] for r in readings)
    assert all(r["stats"]["read/scored/never"] == 0 for r in readings)
    assert "reward" not in readings[-1]["stats"]
    assert made.record.state == "done" and made.about["result"]["unscored"] == ["never"]
    assert without_reward(made.about["result"]).startswith(told)
    assert cli.main(["report", "out", "-o", "report.html"]) == 0
    page = Path("report.html").read_text()
    assert told in page and "– → –" in page, "the proxy, first and last"


def test_one_of_two_rewards_never_applies_and_the_mean_is_the_other(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, readings = run("--rewards", "judges.py:never,judges.py:length")
    for r in readings:
        assert r["rewards"][0] is None and r["rewards"][1] is not None
        assert r["proxy"] == pytest.approx(r["rewards"][1]), "and not half of it"
        assert r["stats"]["read/scored/never"] == 0
        assert "read/scored/length" not in r["stats"]
    assert made.about["result"]["unscored"] == ["never"]
    assert "unrewarded" not in made.about["result"]
    assert readings[-1]["stats"]["frac_reward_missing"] == 0
    assert capsys.readouterr().err.count("scored none") == 1


def test_the_member_that_is_trained_on_never_applies(files: Path) -> None:
    """The proxy was 0.000 ± 0.000, because the other reward had numbers."""
    never = "judges.py:never,judges.py:length"
    made, readings = run("--rewards", never, "--member", "0", code=4)
    assert all(r["proxy"] is None and r["rewards"][1] is not None for r in readings)
    assert made.about["result"]["unrewarded"] is True


def test_a_mean_is_over_the_completions_that_a_reward_applies_to(files: Path) -> None:
    made, readings = run("--rewards", "judges.py:mills")
    rows = read_lines(Path("out/samples.jsonl"))
    for r in readings:
        scored = r["stats"]["read/scored/mills"]
        assert 0 < scored < r["n"] == 64 and scored % 16 == 0
        assert r["proxy"] == pytest.approx(r["rewards"][0]), "the proxy counted 0 for the others"
        assert r["proxy_err"] == pytest.approx(r["rewards_err"][0])
    blank = [r for r in rows if r["rewards"] == [None]]
    assert blank and all(r["proxy"] is None for r in blank)
    assert not {"unscored", "unrewarded"} & made.about["result"].keys()


def test_a_step_without_any_reward_says_so_and_has_no_gradient() -> None:
    task = table.world(seed=0).task
    none = fill_missing(Checked(Says(torch.full((1, 4, 2), NAN))))
    loop = Loop(max_steps=1, batch_size=4, num_generations=2)
    (step,) = online(task, loop, score=lambda x: none(x)[0])
    assert step.stats["frac_reward_missing"] == 1 and "reward" not in step.stats
    assert step.stats["grad_norm"] == 0
