"""Subgoals are paid as the evaluator says, once each, and its errors are measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from answering import servers
from families import checkpoint

from assay.core import Carry, InputError, Loop, Rng, Samples, Task
from assay.engine.parallel import meter
from assay.recipes.subgoal_shaping import recipe
from assay.rewards.annotated import agreement
from assay.rewards.evaluators import BLANK, evaluator_of
from assay.rewards.recorded_answers import SMOLLM2, RecordedAnswers, write
from assay.rewards.transitions import of_episodes, possible
from assay.worlds import table


@pytest.fixture(scope="module")
def task() -> Task:
    return table.world(testbed="grid", prompts=8).task


def paid(task: Task, x: Samples, **more: object) -> tuple[torch.Tensor, dict[str, float]]:
    """What completions are paid beyond their outcome, and the first step's statistics."""
    own = task.replaced(carry=Carry(), rng=Rng(0))
    loop = Loop(max_steps=1, batch_size=8, num_generations=4, learning_rate=0.1)
    step = next(iter(recipe(own, weight=1.0, **more, loop=loop)))  # type: ignore[arg-type]
    assert step.reward is not None
    return step.reward(x) - task.rewards.only([0])(x)[0], step.stats


def walked(task: Task) -> Samples:
    """Episodes that reach something: of a policy that walks to the key and beyond."""
    x = task.others["uniform"].sample(task.prompts, 64, Rng(1))
    return x


def test_the_annotator_s_subgoals_are_paid_once_each(task: Task) -> None:
    x = walked(task)
    place = task.reference.process  # type: ignore[attr-defined]
    t = of_episodes(x, place, tuple(place.subgoals))
    assert t.truth is not None
    times = t.truth.sum(2)  # [B,N,G]
    assert int(times.max()) > 1  # the door may be passed again
    once, stats = paid(task, x)
    often, _ = paid(task, x, once=False)
    assert torch.allclose(once, (times > 0).sum(-1).float(), atol=1e-6)
    assert torch.allclose(often, times.sum(-1).float(), atol=1e-6)
    assert stats.get("judge/f1", 1.0) == 1.0


def test_errors_are_biased_and_come_at_their_rates(task: Task) -> None:
    x = walked(task)
    nothing, _ = paid(task, x, fn=1.0)
    assert float(nothing.abs().max()) < 1e-6
    false, stats = paid(task, x, fp=0.1, once=False)
    again, _ = paid(task, x, fp=0.1, once=False)
    assert torch.equal(false, again) and float(false.mean()) > 1.0
    assert 0.03 < stats["judge/false_positives"] < 0.25 and stats["judge/precision"] < 0.5


def test_the_control_pays_other_transitions_as_often_and_always_the_same(task: Task) -> None:
    x = walked(task)
    own, _ = paid(task, x, once=False)
    other, stats = paid(task, x, once=False, other=True)
    again, _ = paid(task, x, once=False, other=True)
    assert torch.equal(other, again) and not torch.equal(other, own)
    often, _ = paid(task, x, fp=0.2, fn=0.2, once=False)
    instead, _ = paid(task, x, fp=0.2, fn=0.2, once=False, other=True)
    assert float(instead.mean()) == pytest.approx(float(often.mean()), rel=0.4)
    assert stats.get("judge/f1", 1.0) == 1.0  # what it says is compared, not what is paid
    assert float(instead.min()) > 0  # it does not punish: most episodes are paid something


def test_recorded_answers_repeat_the_model_and_refuse_what_it_was_not_asked(
    task: Task, tmp_path: Path
) -> None:
    place = task.reference.process  # type: ignore[attr-defined]
    t = of_episodes(possible(place), place, tuple(place.subgoals))
    texts, index = t.questions()
    smollm2 = RecordedAnswers(SMOLLM2)
    told = smollm2(texts)
    assert sum(map(len, smollm2.log_odds.values())) == len(texts) and all(0 < p < 1 for p in told)
    yes = torch.tensor([p > 0.5 for p in told])[index]
    found = agreement(yes, t)
    assert 0.2 < found["judge/false_positives"] < 0.8  # it says yes to about half
    write(tmp_path / "own.json", "mine", {q: float(i) for i, q in enumerate(texts[:9])})
    own = evaluator_of(str(tmp_path / "own.json"), "")
    assert own is not None  # three kinds of questions in turn: 0 3 6, 1 4 7 and 2 5 8
    assert [p > 0.5 for p in own(texts[:9])] == [False] * 6 + [True] * 3
    with pytest.raises(InputError, match="did not answer"):
        own([texts[9]])
    most = evaluator_of(str(tmp_path / "own.json"), "", 0.9)
    assert most is not None and sum(p > 0.5 for p in most(texts[:9])) == 6
    with pytest.raises(InputError, match="between 0 and 1"):
        evaluator_of("smollm2", "", 1.0)
    (tmp_path / "bad.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="holds no recorded answers"):
        evaluator_of(str(tmp_path / "bad.json"), "")
    _, stats = paid(task, walked(task), judge="smollm2")
    assert {"judge/informedness", "judge/exchanged"} <= stats.keys() or "judge/recall" not in stats


def test_a_fitted_evaluator_costs_labels_and_is_right_more_often_than_not(task: Task) -> None:
    x, spent = walked(task), dict.fromkeys(meter.counts, 0)
    with meter.charging(spent):
        mine, _ = paid(task, x, judge="fitted", annotated=0.5)
    truth, _ = paid(task, x)
    assert 300 < spent["labels"] < 900
    assert float((mine.round() == truth.round()).float().mean()) > 0.8
    assert float(mine[truth > 0.5].mean()) > float(mine[truth < 0.5].mean()) + 0.3


def test_a_model_proposes_subgoals_and_is_asked_about_them(task: Task, tmp_path: Path) -> None:
    x = walked(task)
    with servers("yes_no_server.py", tmp_path / "log") as begin:
        asked = {"judge": begin("plain"), "judge_model": "small-1"}
        got, stats = paid(task, x, subgoals="proposed", **asked)
        assert stats["judge/false_positives"] == 0.0  # "pick up the key" is the annotator's, too
        assert float(got.abs().max()) < 1e-6  # it says no to all
        _, stats = paid(task, x, subgoals="dance; sing", **asked)
        assert stats["judge/said"] == 0.0
    with pytest.raises(InputError, match="cannot write"):
        paid(task, x, subgoals="proposed")
    with pytest.raises(InputError, match="nobody annotated the subgoals dance"):
        paid(task, x, subgoals="dance")
    with pytest.raises(InputError, match="--judge is 'oracle'"):
        paid(task, x, judge="oracle")
    with pytest.raises(InputError, match="--fp is 2"):
        paid(task, x, fp=2.0)
    tomato = table.world(testbed="tomato").task
    with pytest.raises(InputError, match="has no subgoals"):
        paid(tomato, x)


def test_a_folder_is_asked_by_its_log_probabilities(tmp_path: Path) -> None:
    asked = evaluator_of(str(checkpoint(tmp_path / "model", "qwen2")), "")
    assert asked is not None
    one, two = asked([BLANK + "Did the agent reach anything in this step?", "a question?"])
    assert 0 < one < 1 and 0 < two < 1 and one != two
    assert evaluator_of("world", "") is None and evaluator_of("fitted", "") is None


def test_agreement_counts_by_hand(task: Task) -> None:
    place = task.reference.process  # type: ignore[attr-defined]
    t = of_episodes(walked(task), place, tuple(place.subgoals))
    assert t.truth is not None
    exact = agreement(t.truth & t.there[..., None], t)
    assert exact["judge/f1"] == exact["judge/precision"] == exact["judge/recall"] == 1.0
    every = agreement(t.there[..., None].expand(t.truth.shape), t)
    share = float(t.truth[t.there].float().mean())
    assert every["judge/precision"] == pytest.approx(share, rel=1e-4)
    assert every["judge/f1"] == pytest.approx(2 * share / (1 + share), rel=1e-4)
    assert every["judge/false_positives"] == 1.0
    assert exact["judge/informedness"] == 1.0 and exact["judge/exchanged"] < 0.1
    assert every["judge/informedness"] == 0.0
    assert "judge/precision" not in agreement(torch.zeros_like(t.truth), t)
