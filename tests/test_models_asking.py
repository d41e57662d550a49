"""A policy of text that asks other models: what is given, what is paid, and what has no room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint, model, tokenizer

import assay
from assay.core import Rng
from assay.errors import InputError
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.asking import CLOSE, Asking, Solver
from assay.models.policies.causal import Causal
from assay.models.policies.stop_strings import Stops
from assay.rewards.routed_text import RoutedText

CALL = "<search> small : the gate? </search>"


def solver(seed: int, price: float) -> Solver:
    words = Stops(tokenizer(), size=307)
    net = Pretrained(model("gpt2", seed=seed))
    return Solver(Causal(net, words, top_k=1, max_tokens=6).frozen(), price, chat=True)


SOLVERS = {"small": solver(1, 1.0), "large": solver(2, 9.0)}


def taught(steps: int = 150) -> Asking:
    """A policy that has learnt to call after any prompt, and little else."""
    words = Stops(tokenizer(), size=307, stop=(CLOSE,))
    net = Pretrained(model("llama"))
    policy = Asking(net, words, solvers=SOLVERS, turns=2, max_tokens=100)
    policy.requires_grad_(True)
    plain = Causal(net, Stops(tokenizer(), size=307), max_tokens=100)
    x = plain.encode(["the old mill"], [[CALL]])
    adam = torch.optim.Adam(policy.parameters(), lr=5e-3)
    for _ in range(steps):
        adam.zero_grad()
        (-plain.logp(x).sum()).backward()
        adam.step()
    return policy.requires_grad_(False)


def test_calls_are_answered_by_the_model_that_they_name_and_answers_are_given() -> None:
    policy = taught()
    prompts = policy.vocabulary.prompts(["the old mill"])
    x = policy.sample(prompts, 3, Rng(0))
    reply = SOLVERS["small"].answers(["the gate?"])[0]
    begins = f"{CALL}\n<information>{reply}</information>\n"
    texts = x.text()[0]
    asked = [n for n, t in enumerate(texts) if t.startswith(begins)]
    assert asked, texts
    assert reply != SOLVERS["large"].answers(["the gate?"])[0]
    told = policy.vocabulary.text.joined(f"\n<information>{reply}</information>\n")
    for n in asked:
        at = int(x.given[0, n].nonzero()[0])
        assert x.action[0, n, at : at + len(told)].tolist() == told
        assert x.given[0, n, at : at + len(told)].all()
    assert not (x.given & x.mask).any() and (x.logp[x.given] == 0).all()
    torch.testing.assert_close(policy.logp(x), x.logp, rtol=1e-4, atol=1e-4)
    again = policy.copy().logp(x)
    assert again.requires_grad and bool((again[x.given] == 0).all())
    # a policy asks as often as it has turns, and what ends with a call did not end
    waits = policy.waiting(x)
    assert not (x.ended & waits).any()
    assert max(t.count("<information>") for t in texts) <= 2


def test_an_answer_without_room_is_cut_and_an_unknown_name_is_told_the_names() -> None:
    policy = taught()
    short = Asking(
        policy.backbone, policy.vocabulary, solvers=SOLVERS, turns=2, max_tokens=45
    ).frozen()
    x = short.sample(policy.vocabulary.prompts(["the old mill"]), 3, Rng(0))
    assert x.mask.shape[2] <= 45 and x.given.any() and not x.ended[x.given.any(-1)].any()
    told = policy.answers([("huge", "who?"), ("", "who?"), ("large", "")])
    assert set(told) == {"Name one of these models: small, large."}
    with pytest.raises(InputError, match="at least 1 turn"):
        Asking(policy.backbone, policy.vocabulary, solvers=SOLVERS, turns=0)


def test_format_and_cost_are_read_from_the_text() -> None:
    reward = RoutedText(SOLVERS)
    info = "<information>the old mill</information>\n"
    one = f"{CALL}\n{info}"
    dear = one.replace("small", "large")
    unknown = one.replace("small", "huge")
    end = "<answer> 7 </answer>"
    texts = [end, one + end, dear + end, f"<think>x</think>{one}{dear}{end}", unknown + end]
    texts += [one, f"{info}{end}", f"{one}{end}{end}", f"well {end}", CALL]
    form, cost = reward.scores([""] * len(texts), texts).tolist()
    assert form == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    n = SOLVERS["small"].tokens("the old mill") / 1000
    right = [0, n, 9 * n, 10 * n, 0, n, 0, n, 0, 0]
    assert cost == pytest.approx(right) and n > 0


def test_what_is_said_of_prices_and_turns_is_checked(tmp_path: Path) -> None:
    folder = str(checkpoint(tmp_path / "model", "llama"))
    for more, said in (
        ({"turns": 1}, "who can be asked stands in"),
        ({"turns": 1, "others": {"a": folder}, "prices": {"b": 1.0}}, "a price is of one of"),
        ({"turns": 1, "others": {"a": folder}, "prices": {"a": -1.0}}, "at least 0"),
    ):
        given: dict[str, Any] = {"prompts": [{"prompt": "who?"}] * 8, "rewards": [_one], **more}
        with pytest.raises(InputError, match=said):
            assay.train("grpo", model=folder, max_steps=1, quiet=True, **given)


def _one(prompts: list[str], completions: list[str]) -> list[float]:
    return [1.0 for _ in completions]
