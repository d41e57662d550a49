"""A language model as a policy: text in and out, bad input, and passes of bounded size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from alike import EXACT, same

from assay.core import InputError, Prompts, Rng
from assay.models.backbones.attention import Config
from assay.models.backbones.llama import Llama
from assay.models.policies import causal, token_kl
from assay.models.policies.causal import Causal
from assay.models.vocabulary import Vocabulary

WORDS = Vocabulary([f"w{i}" for i in range(9)])


def policy(seed: int = 1, **settings: Any) -> Causal:
    backbone = Llama(Config(len(WORDS), 16, 2, 4, 2, 24), Rng(seed)).double()
    return Causal(backbone, WORDS, **{"max_tokens": 7, **settings})


def prompts() -> Prompts:
    return WORDS.prompts(["w1 w2", "w3", "", "w1 w4 w5 w6"])


@pytest.mark.parametrize("tokens", [1, 30, 90])
def test_without_gradient_many_completions_are_read_in_passes(
    tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of a prompt's completions, some prompts, or all of them: the same numbers."""
    p, q = policy(), policy(2)
    x = p.sample(prompts(), 5, Rng(3))
    with torch.no_grad():
        logp, kl = p.logp(x), p.kl(q, x)
        seen = []
        read = Llama.hidden_states

        def counted(*given: Any) -> Any:
            seen.append(given[4].shape[:2].numel())
            return read(*given)

        monkeypatch.setattr(Llama, "hidden_states", counted)
        monkeypatch.setattr(causal, "_LEAST", tokens)
        monkeypatch.setattr(causal, "_PASS", 0)
        torch.testing.assert_close(p.logp(x), logp, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(p.kl(q, x), kl, rtol=1e-12, atol=1e-12)
    row = x.prompts.mask.shape[1] + x.mask.shape[2]
    assert max(seen) == max(1, tokens // row) or max(seen) == tokens // row // 5 * 5
    p.logp(x).sum().backward()  # type: ignore[no-untyped-call]
    assert seen[-1] == 20, "with a gradient the caller bounds the pass"


def test_text_comes_in_and_goes_out() -> None:
    p = policy()
    x = p.encode(["w1 w2", ""], [["w3 w4", "w5", ""], ["w6"]])
    assert x.text() == [["w3 w4", "w5", ""], ["w6", "", ""]]
    assert x.prompts.text() == ["w1 w2", ""]
    assert x.present.tolist() == [[True, True, True], [True, False, False]] and torch.equal(
        x.ended, x.present
    )
    assert torch.isnan(x.logp[x.mask]).all() and (x.logp[~x.mask] == 0).all()
    assert torch.isfinite(p.logp(x)).all()


def test_bad_input_is_one_sentence() -> None:
    p = policy()
    with pytest.raises(InputError, match="'zebra' in 'w1 zebra'"):
        p.encode(["w1 zebra"], [["w1"]])
    with pytest.raises(InputError, match="2 prompts and completions of 1"):
        p.encode(["w1", "w2"], [["w1"]])
    for bad in (
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"top_k": -1},
        {"max_tokens": 0},
        {"min_tokens": 9},
    ):
        with pytest.raises(InputError, match=f"{next(iter(bad))} is"):
            policy(**bad)
    x = prompts()
    with pytest.raises(InputError, match="prompt 1 is empty or padded on its right"):
        p.sample(Prompts(x.tokens.flip(1), x.mask.flip(1), x.row)[torch.tensor([1, 3])], 2, Rng(0))
    with pytest.raises(InputError, match="no language model over the same vocabulary"):
        p.kl(Causal(p.backbone, Vocabulary(["w1"])), p.sample(x, 1, Rng(0)))


@pytest.mark.parametrize("cut", [{}, {"temperature": 0.7, "top_k": 12}, {"min_tokens": 3}])
def test_kl_by_the_states_of_drawing_is_kl(cut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the policy reads nothing again, unless the states are too many to hold."""
    p, q = policy(**cut), policy(2)
    plain = p.sample(prompts(), 6, Rng(3))
    read, asked = Llama.hidden_states, []

    def counted(self: Any, *given: Any) -> Any:
        asked.append(self is p.backbone)
        return read(self, *given)

    monkeypatch.setattr(Llama, "hidden_states", counted)
    for held, times in ((token_kl._HELD, 0), (0, 1)):
        asked.clear()
        with monkeypatch.context() as m, torch.no_grad():
            m.setattr(token_kl, "_HELD", held)
            x, kl = p.sample_and_kl(q, prompts(), 6, Rng(3))
            assert sum(asked) == times
            same(x, plain)
            assert not x.extra and not p.keeps_states
            torch.testing.assert_close(kl, p.kl(q, plain), **EXACT)
    assert bool((kl > 0).any())
