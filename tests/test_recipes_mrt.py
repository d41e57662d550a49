"""MRT: forced answers, what progress and regret are, and who is paid for which block."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world
from torch import Tensor

from assay.core import Carry, Rng, Samples
from assay.errors import InputError
from assay.loops.verifiers import continued, forced, progress
from assay.recipes import mrt
from assay.worlds.arithmetic import VOCABULARY

ANSWER = VOCABULARY.ids["answer"]
PROMPTS = VOCABULARY.prompts(["3 + 5 mod 7 :"])
FORCE = torch.tensor([ANSWER])


def stored(*texts: str) -> Samples:
    return VOCABULARY.completions(PROMPTS, [list(texts)])


def test_what_is_forced_is_given_right_after_a_beginning_that_has_room() -> None:
    x = stored("3 + 5 = 1 ; answer 1", "3 +")
    # without the end tokens: beginnings of eight and of two tokens
    here = x.mask & (x.action != VOCABULARY.eos)
    x = replace(x, mask=here)
    y, fits = forced(x, FORCE, most=20)
    assert fits.all() and y.given.sum(-1).tolist() == [[1, 1]]
    assert y.action[0, 0, 8] == ANSWER and y.given[0, 0, 8]
    assert y.action[0, 1, 2] == ANSWER and y.given[0, 1, 2]
    assert torch.equal(y.mask[..., : here.shape[2]], here), "own tokens stay one's own"
    y, fits = forced(x, FORCE, most=8)
    assert fits.tolist() == [[False, True]] and not y.given[0, 0].any()


class Echo:
    """Answers nothing of its own: it returns what it was given."""

    kl_kind, max_tokens = "sampled", 12

    def sample(self, prompts: Any, n: Any, rng: Rng, start: Samples) -> Samples:
        assert int(n[0]) == start.mask.shape[1]
        return start

    logp = kl = copy = parameters = state_dict = load_state_dict = sample


def test_every_wanted_beginning_is_forced_and_judged_with_its_own_blocks() -> None:
    x = stored("3 + 5 = 1 ; answer 1")
    step = torch.tensor([[[0] * 6 + [1] * 3]])
    seen: list[list[str]] = []

    def success(y: Samples) -> Tensor:
        seen.extend(y.text())
        return torch.tensor([[float("=" in text) for text in y.text()[0]]])

    here = torch.tensor([[[True, True, False]]])
    won = continued(Echo(), x, step, here, success, 3, Rng(0), force=FORCE)
    assert won.tolist() == [[[0.0, 3.0, 0.0]]]
    assert seen[0] == ["answer"] * 3 + ["3 + 5 = 1 ; answer"] * 3
    short = Echo()
    short.max_tokens = 8
    step = torch.tensor([[[0] * 8 + [1]]])
    won = continued(short, x, step, here, success, 3, Rng(0), force=FORCE)
    assert won.tolist() == [[[0.0, 0.0, 0.0]]], "what has no room for an answer is not right"


def test_progress_adds_up_to_the_outcome_and_regret_is_what_is_missing() -> None:
    step = torch.tensor([[[0, 0, 1, 2], [0, 1, 1, -1]]])
    q = torch.tensor([[[0.25, 0.5, 0.75, 0.0], [0.25, 0.5, 0.0, 0.0]]])
    outcome = torch.tensor([[1.0, 0.0]])
    gain = progress(q, outcome, step)
    assert gain.tolist() == [[[0.25, 0.25, 0.25], [0.25, -0.5, 0.0]]]
    torch.testing.assert_close(gain.sum(-1), outcome - q[..., 0])
    told = mrt.regret(q, outcome, step)
    assert told["mrt/at_once"] == 0.25
    # 1 − J: .75, .5, .25, 0 and .75, .5, 1
    assert told["mrt/regret"] == pytest.approx((0.75 + 0.5 + 0.25 + 0 + 0.75 + 0.5 + 1) / 7)


class Rescaled:
    """A world's rewards in other units."""

    def __init__(self, rewards: Any, scale: float, shift: float):
        self.rewards, self.scale, self.shift = rewards, scale, shift

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rewards, name)

    def only(self, members: Any) -> Rescaled:
        return Rescaled(self.rewards.only(members), self.scale, self.shift)

    def __call__(self, x: Samples) -> Tensor:
        return self.scale * self.rewards(x) + self.shift


@pytest.mark.parametrize("form", mrt.FORMS)
def test_where_wrong_is_minus_one_each_form_learns_what_it_learns_where_it_is_zero(
    form: str,
) -> None:
    # GRPO's own advantage has 10⁻⁴ beside the deviation, the progress of J has no unit at all
    losses, grads = [], []
    for scale, shift in ((1.0, 0.0), (2.0, -1.0)):
        task = small_world(mrt).task
        task = task.replaced(rewards=Rescaled(task.rewards, scale, shift), carry=Carry())
        step = next(iter(mrt.recipe(task, form=form, loop=LOOP)))
        losses.append(step.stats["loss"])
        grads.append(step.stats["grad_norm"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3, abs=1e-9)
    assert grads[1] == pytest.approx(grads[0], rel=1e-3) and grads[0] > 0


LOOP = replace(SMALL, learning_rate=0.003, max_steps=1)


def last(**given: Any) -> dict[str, float]:
    stats: dict[str, float] = drive(mrt, small_world(mrt), given, loop=LOOP)[-2]["stats"]
    return stats


def test_each_form_and_control_makes_another_step() -> None:
    runs = [
        last(alpha=0.0),
        last(),
        last(shuffled=True),
        last(form="termination"),
        last(form="termination", shuffled=True),
    ]
    assert len({r["grad_norm"] for r in runs}) == 5
    assert "mrt/regret" not in runs[0]
    assert 0 <= runs[1]["mrt/at_once"] <= 1 and 0 < runs[1]["mrt/regret"] < 1
    assert runs[1]["mrt/regret"] == runs[2]["mrt/regret"]
    assert 0 <= runs[3]["mrt/termination"] <= 1
    for given, said in (
        ({"form": "star"}, "--form is 'star'"),
        ({"answers": 0}, "--answers is 0"),
        ({"alpha": -1.0}, "--alpha -1"),
    ):
        with pytest.raises(InputError, match=said):
            last(**given)
