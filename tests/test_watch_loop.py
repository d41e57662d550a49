"""The watch alone, on scripted answers: what it asks, whom it tells, what it spends, and that it
goes on where it stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_watch import Reads, Script, drive, reading, rises, turns, watch

from assay.core.rng import Rng
from assay.errors import Waiting
from assay.records.runs import read_lines
from assay.watch.labelers.questions import Label, Question


def test_it_stops_a_run_that_turns_and_names_a_better_step() -> None:
    door = Script(turns)
    last = drive(watch(door, Reads()))[-1]
    assert last["word"] == "stop" and 26 < last["step"] <= 40
    assert turns(last["back"]) > turns(last["step"]) + 0.1 and last["back"] in door.kept
    assert (
        last["says"].startswith(f"stop, step {last['back']} was better: win rate 0.")
        and "labels spent" in last["says"]
    )
    assert last["low"] <= last["win"] <= last["high"] < 0.5 + 0.15


@pytest.mark.full
def test_labels_after_a_stop_choose_where_to_go_back_to() -> None:
    """Over several runs: what is gone back to is near the peak, nearer than the best that the looks
    compared with.
    """

    def lost(settle: int) -> list[float]:
        out = []
        for seed in range(6):
            door = Script(turns)
            door.rng = Rng(100 + seed)
            last = drive(
                watch(door, Reads(), looks=50, budget=2000, settle=settle, reference=0, calm=8),
                range(1, 51),
            )[-1]
            assert last["word"] == "stop"
            out.append(turns(25) - turns(last["back"]))
        return out

    assert sum(lost(64)) / 6 < 0.12 and sum(lost(64)) <= sum(lost(0)) + 0.05


def test_few_policies_are_kept_and_the_best_among_them() -> None:
    w = watch(Script(turns), Reads(), kept=4, budget=2000)
    for step in range(1, 26):
        w.look(reading(step))
        assert len(w.kept) <= 5 and w.kept[-1] == step and (w.best == 0 or w.best in w.kept)
    one = watch(Script(turns), Reads(), kept=1, budget=2000)
    last = drive(one)[-1]
    assert last["back"] in (0, last["best"], *one.kept)


def test_it_does_not_stop_a_run_that_rises() -> None:
    said = drive(watch(Script(rises), Reads(), budget=1000))
    assert len(said) == 40 and {s["word"] for s in said} <= {"go_on", "cannot_tell"}
    assert said[-1]["best"] > 10


def test_every_look_has_fresh_prompts_and_one_label_a_prompt() -> None:
    labeler = Reads()
    drive(watch(Script(turns, prompts=5000), labeler))
    assert max(Counter(q.prompt for q in labeler.seen).values()) == 1


def test_the_best_so_far_is_a_stretch_of_checkpoints() -> None:
    """Each label meets one of them, evenly; they end with the best; all of them are kept."""
    labeler = Reads()
    w = watch(Script(rises), labeler, budget=4000, stretch=4, alert=32, calm=32, reference=0)
    met: Counter[int] = Counter()
    for step in range(1, 36):
        before, seen = list(w.stretch), len(labeler.seen)
        w.look(reading(step))
        assert {q.place[1] for q in labeler.seen[seen:]} <= set(before) and w.stretch[-1] == w.best
        assert w.stretch == [0] or (set(w.stretch) <= set(w.kept) and len(w.stretch) <= 4)
        if len(before) == 4:
            met.update(before.index(q.place[1]) for q in labeler.seen[seen:])
    assert len(met) == 4 and min(met.values()) > 0.8 * max(met.values())


def test_the_order_is_blind_and_even() -> None:
    """Which side the current answer stands on is a coin, and nothing in a question says which it
    is.
    """
    labeler = Reads()
    door = Script(
        lambda step: 1.0 if step else 0.0
    )  # the current answer is always the better: its side can be read off
    drive(watch(door, labeler, budget=400, alert=4, reference=0, delta=0.4))
    left = [float(q.first) > float(q.second) for q in labeler.seen if q.place[1:] == (0,)]
    assert 0.2 < sum(left) / len(left) < 0.8
    lines = [q.line() for q in labeler.seen]
    assert {k for line in lines for k in line} == {
        "id",
        "who",
        "step",
        "place",
        "prompt",
        "first",
        "second",
    }


def test_a_small_budget_lasts_to_the_end() -> None:
    """Every look has a label while nothing happens, however few there are and whatever is asked."""
    for settings in ({"budget": 80}, {"budget": 80, "calm": 30}):
        labeler = Reads()
        said = drive(watch(Script(lambda step: 0.5), labeler, **{"calm": 0, **settings}))
        assert len(said) == 40 and all(s["bought"] >= 1 for s in said), settings
        assert len(labeler.seen) == said[-1]["labels"] <= 80


def test_fewer_labels_than_looks_are_spread_evenly_and_said() -> None:
    labeler = Reads()
    said = drive(watch(Script(rises), labeler, budget=10, reference=0))
    assert [s["step"] for s in said if s["bought"]] == list(range(4, 41, 4))
    assert (
        "by the plan this look buys none: there is one label for about 4 looks" in said[1]["says"]
    )
    assert "no label was bought" in said[1]["says"] and said[1]["word"] == "cannot_tell"
    assert "10 labels over 40 looks are too few to find even a large fall" in said[0]["notes"][-1]
    assert not any("too few" in s["says"] for s in said), "it was said before the run"


def test_it_spends_no_more_than_its_budget_and_says_so() -> None:
    """A run that goes on for longer than was planned has nothing left."""
    labeler = Reads()
    said = drive(watch(Script(lambda step: 0.5), labeler, budget=30, looks=10), range(1, 16))
    assert len(labeler.seen) == 30 == said[-1]["labels"]
    assert "the budget of 30 labels is spent" in said[-1]["says"]
    assert said[-1]["word"] == "cannot_tell" and "no label yet" not in said[-1]["says"]


def test_prompts_that_run_out_are_said() -> None:
    labeler = Reads()
    said = drive(watch(Script(rises, prompts=21), labeler, looks=15))
    assert len(labeler.seen) == 21 and "no fresh prompts are left" in said[-1]["says"]
    assert all(s["bought"] for s in said[:15])
    assert "21 of 21 labels spent" in said[-1]["says"]
    assert said[-1]["word"] == "cannot_tell", (
        "without fresh prompts nothing is known, and nothing is asked again"
    )


def test_a_look_without_a_label_does_not_hide_what_earlier_ones_said() -> None:
    """The verdict of a look that buys nothing names the win rate of the looks before it."""
    said = drive(
        watch(
            Script(lambda step: 0.9 if step else 0.5),
            Reads(),
            budget=12,
            looks=3,
            reference=0,
            delta=0.4,
        ),
        range(1, 6),
    )
    last = said[-1]
    assert not last["bought"] and last["labels"] == 12
    assert "no label yet, " not in last["says"] and "12 of 12 labels spent" in last["says"]


def test_a_labeler_that_says_nothing_usable_half_the_time() -> None:
    labeler = Reads(mute=lambda i: i % 2 == 0)
    last = drive(watch(Script(turns), labeler, budget=2000, alert=32))[-1]
    assert last["word"] == "stop" and last["unusable"] == pytest.approx(last["labels"] / 2, abs=1)
    assert "questions got no usable answer" in last["says"]


def test_a_labeler_that_lies_a_fifth_of_the_time() -> None:
    """Told of the lies, the watch still finds the turn, and its win rate is the true one's
    estimate, not the labels'.
    """
    last = drive(watch(Script(turns), Reads(lies=0.2), budget=4000, flip=0.2, calm=16, alert=64))[
        -1
    ]
    assert last["word"] == "stop" and last["best"] >= 5
    honest = drive(watch(Script(rises), Reads(lies=0.2), budget=4000, flip=0.2, calm=16, alert=64))
    assert all(s["word"] != "stop" for s in honest)


def test_pairs_against_the_reference_are_no_evidence() -> None:
    with_, without = (
        drive(watch(Script(turns), Reads(), reference=r, budget=4000)) for r in (3, 0)
    )
    assert [s["log_evidence"] for s in with_] == [s["log_evidence"] for s in without]
    assert with_[-1]["labels"] > without[-1]["labels"] and without[-1]["reference"] is None
    assert 0 <= with_[-1]["reference"]["win"] <= 1


def test_few_prompts_are_kept_for_evidence() -> None:
    """A comparison with the reference is none, and takes nothing of a tight plan's reserve."""
    door = Script(lambda step: 0.95 if step else 0.05, prompts=64)
    w = watch(door, Reads(), looks=20, calm=0)
    said = drive(w, range(1, 21))
    assert w.budget.plan.tight and w.budget.plan.reserve and said[-1]["best"] > 0
    assert said[-1]["reference"] is None
    many = drive(watch(Script(door.quality, 2000), Reads(), looks=20, calm=0), range(1, 21))
    assert many[-1]["reference"] is not None


@pytest.mark.parametrize("settings", [{"group": 4}, {"group": 4, "uneven": True}])
def test_judges_may_help_and_choose(settings: dict[str, Any]) -> None:
    labeler = Reads()
    last = drive(watch(Script(turns, judges=3), labeler, budget=2000, **settings))[-1]
    assert last["word"] == "stop"
    assert len({(q.step, q.place) for q in labeler.seen}) == len(labeler.seen)


@pytest.mark.full
def test_uneven_choice_asks_where_judges_disagree() -> None:
    def asked(uneven: bool) -> float:
        door, labeler = Script(rises, judges=3), Reads()
        drive(
            watch(door, labeler, budget=400, group=8, uneven=uneven, reference=0, calm=16),
            range(1, 20),
        )
        shares = []
        for q in labeler.seen:
            drawn = door.sample(q.step, q.step, q.place[1], q.place[0], 1, 0)[0]
            c = drawn.win_probabilities
            shares.append(max(c) - min(c))
        return sum(shares) / len(shares)

    assert asked(True) > 1.1 * asked(False)


@pytest.mark.parametrize("cut", [1, pytest.param(9, marks=pytest.mark.full), 20, 30])
def test_it_goes_on_where_it_stopped(cut: int, tmp_path: Path) -> None:
    whole = drive(watch(Script(turns), Reads()))
    first = watch(Script(turns), Reads(), tmp_path)
    before = drive(first, range(1, cut + 1))
    state = json.loads(json.dumps(first.state()))
    again = watch(Script(turns), Reads(), tmp_path)
    again.load(state)
    assert before + drive(again, range(cut + 1, 41)) == whole


def test_labels_of_a_look_made_again_are_not_paid_twice(tmp_path: Path) -> None:
    first = Reads()
    whole = drive(watch(Script(turns), first, tmp_path))
    second = Reads()
    assert drive(watch(Script(turns), second, tmp_path)) == whole and second.seen == []
    assert (
        len(read_lines(tmp_path / "labels.jsonl"))
        == len(first.seen)
        == len(read_lines(tmp_path / "questions.jsonl"))
    )
    other = Reads()
    other.name = "somebody else"  # type: ignore[misc]
    drive(watch(Script(turns), other, tmp_path))
    assert len(other.seen) == len(first.seen), "another labeler's word is another word"


def test_a_look_without_labels_has_not_happened(tmp_path: Path) -> None:
    class Later(Reads):
        name, waits = "people", True

        def __call__(self, asked: Sequence[Question]) -> Iterator[Label]:
            return iter(())

    w = watch(Script(turns), Later(), tmp_path)
    before = w.state()
    with pytest.raises(Waiting, match="4 pairs wait for a label"):
        w.look(reading(1))
    assert w.state() == before and len(read_lines(tmp_path / "questions.jsonl")) == 4


def test_hints_say_that_they_are_hints() -> None:
    w = watch(Script(rises), Reads(), budget=1000)
    said = [
        w.look({**reading(step), "stats": {"read/length": 9.0 if step < 6 else 30.0}})
        for step in range(1, 12)
    ]
    fired = [h for s in said for h in s["hints"]]
    assert fired and all(h["label"] == "hint, no guarantee" for h in fired)
    assert {h["since"] for h in said[-1]["hints"] if h["name"] == "length drift"} == {6}
    assert all("length" not in h["name"] for s in said[:5] for h in s["hints"])
