"""Stop strings: where an answer ends, what it is worth, and what judges read of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, exact, model, tokenizer

from assay.core import InputError, Rng, Samples
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.tokenizer import Tokens

ASKS = ["the old mill", "please tell me about the gate", "what?"]
STOP = ("e", "the", " a", "b", "é")


def both(
    family: str = "llama", stop: tuple[str, ...] = STOP, **settings: Any
) -> tuple[Causal, Stopping]:
    """The same model without stop strings and with them."""
    tokens = tokenizer()
    backbone = Pretrained(model(family, vocabulary=len(tokens), dtype=exact(family)[0]))
    settings = {"max_tokens": 24, **settings}
    return (
        Causal(backbone, Tokens(tokens, size=len(tokens)), **settings),
        Stopping(backbone, Stops(tokens, size=len(tokens), stop=stop), **settings),
    )


def ids(x: Samples, b: int, n: int) -> list[int]:
    return x.action[b, n][x.mask[b, n]].tolist()


def cut(plain: list[int], stop: tuple[str, ...], least: int) -> tuple[list[int], str]:
    """An answer up to the token that completes a stop string, and its text up to that; in the
    plainest words.
    """
    decode = tokenizer().decode
    for k in range(1, len(plain) + 1):
        before, text = (decode(plain[:j], skip_special_tokens=True) for j in (k - 1, k))
        new = [text.index(s) for s in stop if text.count(s) > before.count(s) and k > least]
        if new and least == 0:
            return plain[:k], text[: min(new)]
        if new:
            return plain[:k], ""
    return plain, decode(plain, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        *((f, {}) for f in FAMILIES),
        ("llama", {"temperature": 0.7, "top_p": 0.9}),
        ("llama", {"max_tokens": 3}),
    ],
)
def test_an_answer_is_the_plain_one_up_to_the_token_that_completes_a_stop_string(
    family: str, settings: dict[str, Any]
) -> None:
    plain, of = both(family, **settings)
    asked = of.vocabulary.prompts(ASKS)
    x, y = plain.sample(asked, 12, Rng(3)), of.sample(asked, 12, Rng(3))
    texts, shorter = y.text(), 0
    for b in range(len(ASKS)):
        for n in range(12):
            want, text = cut(ids(x, b, n), STOP, 0)
            assert ids(y, b, n) == want and texts[b][n] == text and not any(s in text for s in STOP)
            stopped = of.vocabulary.stopped(want)
            assert bool(y.ended[b, n]) == (stopped or bool(x.ended[b, n]))
            shorter += len(want) < len(ids(x, b, n))
    assert shorter > 5 or settings.get("max_tokens") == 3
    assert (of.logp(y).detach() - y.logp).abs().max() < exact(family)[1], (
        "what is scored is what was drawn"
    )


def test_what_is_too_short_goes_on_and_copies_stop_as_well() -> None:
    plain, of = both(min_tokens=6)
    asked = of.vocabulary.prompts(ASKS)
    x, y = plain.sample(asked, 16, Rng(5)), of.copy().sample(asked, 16, Rng(5))
    late = 0
    for b in range(len(ASKS)):
        for n in range(16):
            want, _ = cut(ids(x, b, n), STOP, 6)
            assert ids(y, b, n) == want
            late += of.vocabulary.stopped(want)
    assert late > 5 and int(y.lengths.min()) == 7
    half = of.sample(asked, 16, Rng(5), y)
    assert torch.equal(half.action, y.action) and torch.equal(half.ended, y.ended), (
        "what has ended does not go on"
    )


def test_alone_and_among_others_and_in_two_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, of = both()
    asked = of.vocabulary.prompts(ASKS)
    whole = of.sample(asked, 6, Rng(2))
    for b in range(len(ASKS)):
        alone = of.sample(asked[b : b + 1], 6, Rng(2)[torch.tensor([b])])
        T = alone.action.shape[2]
        assert torch.equal(whole.action[b, :, :T][alone.mask[0]], alone.action[0][alone.mask[0]])
        assert torch.equal(whole.mask[b, :, :T], alone.mask[0]) and torch.equal(
            whole.ended[b], alone.ended[0]
        )
    monkeypatch.setattr(
        "assay.models.policies.stop_strings.StopDecoding.leave", 1.0
    )  # nobody leaves before all have ended
    late = of.sample(asked, 6, Rng(2))
    assert torch.equal(late.action, whole.action) and torch.equal(late.mask, whole.mask)


def test_prompts_keep_what_would_end_an_answer_and_characters_of_several_tokens_are_whole() -> None:
    tokens = tokenizer()
    words = Stops(tokens, size=len(tokens), stop=("\n\n", "é", "###"))
    asked = words.prompts(["one\n\ntwo é\n\n", "### ask ###"])
    assert asked.text() == ["one\n\ntwo é\n\n", "### ask ###"]
    said, more = (
        tokens(text, add_special_tokens=False)["input_ids"] for text in ("so é", "x ## y")
    )
    assert words.stopped(said) and not words.stopped(said[:-1])
    assert words.decode(said) == "so " and words.decode(said[:-1]) == "so \ufffd"
    assert not words.stopped(more) and words.decode([*said, *more]).startswith("so é"), (
        "one that did not end it stays"
    )
    assert words.decode([*said, words.eos]) == "so é", "it ended by itself"
    assert words == Tokens(tokens, size=len(tokens)), "ids mean the same"
    with pytest.raises(InputError, match="every text contains that"):
        Stops(tokens, size=len(tokens), stop=("a", ""))
