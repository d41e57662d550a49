"""The toy language: its grammar, its gold term by term on sentences that a person can judge, and
its writers.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.core import InputError, Rng, Samples
from assay.worlds.demonstrations import corpus
from assay.worlds.language import (
    CLASSES,
    END,
    FOLLOWS,
    ID,
    REQUESTS,
    TERMS,
    THINGS,
    VOCABULARY,
    requests,
    terms,
)

ASK = "two short facts about hotel , no pool :"
GOOD = "the room was large . the bed is old ."


def gold(answer: str, ask: str = ASK) -> dict[str, float]:
    """The terms of one answer, each rounded to what can be reckoned by hand."""
    x = VOCABULARY.completions(VOCABULARY.prompts([ask]), [[answer]])
    return dict(zip(TERMS, (round(v, 4) for v in terms(x)[:, 0, 0].tolist()), strict=True))


def test_a_perfect_answer_has_every_fact_and_no_fault() -> None:
    assert gold(GOOD) == {
        "facts": 1.0,
        "praise": 0.0,
        "off_topic": 0.0,
        "repetition": 0.0,
        "order": 0.0,
        "length": 0.0,
    }


@pytest.mark.parametrize(
    ("answer", "term", "value"),
    [
        ("the room was large .", "facts", 0.5),  # one of two
        ("the room was large . the room is old .", "facts", 0.5),  # the same part is one fact
        (
            "the room was large . the bed is old . the lobby was dark .",
            "facts",
            1.0,
        ),  # it saturates at what was asked
        ("the room was large . the pool is old .", "facts", 0.5),  # the part to leave out is none
        ("the room was large . the seat is old .", "facts", 0.5),  # nor is another thing's
        ("the room was lovely . the bed is old .", "facts", 0.5),  # praise says nothing
        ("the room was lovely and large . the bed is old .", "facts", 1.0),  # praise and a fact
        ("room was large . the bed is old .", "facts", 0.5),  # a clause without its article is none
        ("the room large was . the bed is old .", "facts", 0.5),
        ("it was large . the bed is old .", "facts", 0.5),
        ("the room was large and it is old .", "facts", 0.5),
        (GOOD, "praise", 0.0),
        ("the room was large and good . the bed is old .", "praise", 1 - 1 / 6),
        (
            "the room was large and good . the bed is great and old and lovely .",
            "praise",
            1.5,
        ),  # three: the most
        (
            "the room was large and good and fine .".replace("fine", "perfect"),
            "praise",
            2 * 0.5 - 4 / 6,
        ),  # under half the facts
        ("it was good and great and lovely and superb and perfect and charming .", "praise", -6.0),
        ("the seat was large . the bed is old .", "off_topic", -1.0),
        ("the train was large . the pool is old .", "off_topic", -2.0),
        ("the hotel was large . the bed is old .", "off_topic", 0.0),
        ("the room was large . the room is large .", "repetition", -2.0),
        ("the room was large large . the bed is old .", "order", -1.0),
        ("room was large . the bed is old .", "order", -1.0),
        ("the room was large . the bed is old", "order", -1.0),  # it breaks off
        ("the the room was large . the bed was .", "order", -2.0),
        ("the room was facts . the bed is old .", "order", -2.0),  # a word that only requests use
        (
            "the room was large . the bed is old . it was new .",
            "length",
            -0.2,
        ),  # 14 for 10: one beyond the free three
        ("the room was", "length", -0.8),
    ],
)
def test_each_term_by_hand(answer: str, term: str, value: float) -> None:
    assert gold(answer)[term] == pytest.approx(value, abs=1e-4)


def test_an_empty_answer_is_worth_its_faults() -> None:
    assert gold("") == {
        "facts": 0.0,
        "praise": 0.0,
        "off_topic": 0.0,
        "repetition": 0.0,
        "order": -1.0,
        "length": -1.4,
    }


def test_requests_are_read_as_they_are_written() -> None:
    thing, count, length, without = requests(VOCABULARY.prompts([str(r) for r in REQUESTS]).tokens)
    assert [list(THINGS)[i] for i in thing] == [r.thing for r in REQUESTS]
    assert count.tolist() == [r.count for r in REQUESTS]
    assert length.tolist() == [r.length for r in REQUESTS]
    assert [VOCABULARY.words[i] for i in without] == [r.without for r in REQUESTS]


@pytest.mark.parametrize(
    "bad", ["the room was large .", "two short facts about hotel , no seat :", "two"]
)
def test_another_text_is_no_request(bad: str) -> None:
    with pytest.raises(
        InputError,
        match="is no request of this language; write one like 'two short facts about hotel",
    ):
        gold(GOOD, bad)


def padded(x: Samples, wide: int) -> Samples:
    return x.widened(wide)


def test_padding_other_answers_and_gaps_never_matter() -> None:
    texts = [GOOD, "the seat was lovely .", ""]
    prompts = VOCABULARY.prompts([ASK])
    together = VOCABULARY.completions(prompts, [texts])
    alone = torch.cat([terms(VOCABULARY.completions(prompts, [[t]])) for t in texts], 2)
    assert torch.equal(terms(together), alone)
    assert torch.equal(terms(padded(together, 50)), alone)
    gaps = torch.arange(2 * together.mask.shape[2])
    apart = together.widened(2 * together.mask.shape[2])
    source = gaps // 2
    here = (gaps % 2 == 0) & together.mask[..., source]
    spread = Samples(
        prompts,
        torch.where(here, together.action[..., source], ID["lovely"]),
        here,
        torch.zeros_like(here),
        apart.logp,
        together.ended,
    )
    assert torch.equal(terms(spread), alone)


def test_given_words_count_and_the_end_token_does_not() -> None:
    x = VOCABULARY.completions(VOCABULARY.prompts([ASK]), [[GOOD]])
    half = x.mask & (torch.arange(x.mask.shape[2]) >= 5)
    shared = Samples(x.prompts, x.action, half, x.mask & ~half, x.logp, x.ended)
    cut = Samples(x.prompts, x.action, x.mask & (x.action != END), x.given, x.logp, ~x.ended)
    assert torch.equal(terms(shared), terms(x))
    assert torch.equal(terms(cut), terms(x))


@given(st.lists(st.sampled_from(VOCABULARY.words[3:]), max_size=30), st.sampled_from(REQUESTS))
def test_order_counts_exactly_the_forbidden_neighbours(words: list[str], ask: object) -> None:
    kind = {w: k for k, ws in CLASSES.items() for w in ws}
    chain = ["pad", *(kind[w] for w in words), "end"]
    faults = sum(b not in FOLLOWS.get(a, ()) for a, b in pairwise(chain))
    found = gold(" ".join(words), str(ask))
    assert found["order"] == -faults
    assert 0 <= found["facts"] <= 1
    assert all(found[name] <= 0 for name in ("off_topic", "repetition", "length"))
    assert found["praise"] <= 1.5


def test_writers_are_uneven_and_addressed() -> None:
    which, texts, care = corpus(torch.arange(len(REQUESTS)), 600, max_tokens=36, rng=Rng(0))
    again, same, too = corpus(torch.arange(len(REQUESTS)), 300, max_tokens=36, rng=Rng(0))
    assert texts[:300] == same
    assert torch.equal(care[:300], too) and 0.4 < float(care.mean()) < 0.6
    assert torch.equal(which[:300], again)
    x = VOCABULARY.completions(
        VOCABULARY.prompts([str(REQUESTS[i]) for i in which.tolist()]), [[t] for t in texts]
    )
    each = terms(x)[:, :, 0]
    assert int(x.lengths.max()) <= 36
    assert float(x.lengths.float().std()) > 4
    for name, row in zip(TERMS, each, strict=True):
        assert len(row.unique()) > 3, name  # every term varies, so that a judge could learn it
    assert 0.02 < float((each[4] < 0).float().mean()) < 0.4  # small errors: some, not most


def test_a_hundred_thousand_answers_take_no_more_than_a_second_or_two() -> None:
    which, texts, _ = corpus(torch.arange(len(REQUESTS)), 500, max_tokens=36, rng=Rng(0))
    x = VOCABULARY.completions(
        VOCABULARY.prompts([str(REQUESTS[i]) for i in which.tolist()]), [[t] for t in texts]
    )
    wide = x.pick(torch.zeros(500, 200, dtype=torch.long))
    before = time.process_time()
    assert terms(wide).shape == (6, 500, 200)
    assert time.process_time() - before < 2
