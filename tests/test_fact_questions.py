"""Questions about made-up facts, the routes by which they are asked, and the panel that answers."""

from __future__ import annotations

import pytest
import torch

from assay.core import Rng
from assay.loops import fact_panel
from assay.loops import fact_questions as made


@pytest.fixture(scope="module")
def facts() -> made.Facts:
    return made.facts(Rng(0)("facts"))


def test_every_question_is_words_and_its_place_is_its_own(facts: made.Facts) -> None:
    every = made.every()
    assert made.place(every).tolist() == list(range(len(every)))
    texts = [facts.text(q) for q in every.tolist()]
    assert len(set(texts)) == len(texts), "no two questions are put alike"
    right = facts.right(every)
    for q, answer in zip(every[::97].tolist(), right[::97].tolist(), strict=True):
        assert made.ANSWERS[answer] in made.VALUES[made.ATTRIBUTES[q[1]]]
    assert len(facts.prompts(every[:5])) == 5


def test_no_thing_is_named_by_a_word_of_the_questions() -> None:
    """Of 200 worlds a few would have been refused: a name of two syllables can be "name"."""
    for seed in range(200):
        world = made.facts(Rng(seed))
        names = {n for pair in world.names for n in pair}
        assert len(names) == 2 * len(world.names) and not names & {*made.ATTRIBUTES, *made.ANSWERS}
        assert not names & {w for way in made.WAYS for w in way.split()}


def test_rewrites_keep_the_question_but_for_slips(facts: made.Facts) -> None:
    asked = made.asked(400, Rng(1))
    same = made.rewritten(asked, 8, Rng(2), slip=0.0)
    assert bool((same[..., :2] == asked[:, None, :2]).all())
    assert 0.2 < float((same[..., 2] != asked[:, None, 2]).double().mean()) < 0.6
    slipped = made.rewritten(asked, 8, Rng(2), slip=0.5)
    other = (slipped[..., 0] != asked[:, None, 0]).double().mean()
    assert 0.3 < float(other) < 0.5 and bool((slipped[..., 1] == asked[:, None, 1]).all())


def test_choices_are_the_right_answer_and_three_others_of_its_kind(facts: made.Facts) -> None:
    every, places = made.every(), []
    for q, text in zip(every.tolist(), facts.asked_by("choices", every, Rng(3)), strict=True):
        choices, question = text.split(" . ", 1)
        shown = choices.removeprefix("one of ").split()
        right = made.ANSWERS[facts.value[q[0], q[1]]]
        assert question == facts.text(q) and len(set(shown)) == 4 and right in shown
        assert set(shown) <= set(made.VALUES[made.ATTRIBUTES[q[1]]])
        places.append(shown.index(right))
    counts = torch.tensor(places).bincount(minlength=4) / len(places)
    assert counts.tolist() == pytest.approx([0.25] * 4, abs=0.04), "the place says nothing"


def test_the_sentence_that_is_found_shares_most_words_with_the_question(facts: made.Facts) -> None:
    """By brute force over all stored sentences; so it fits unless a name or a kind misleads."""
    stored = {
        f"the {kind} of {facts.names[e][0]} is {made.ANSWERS[facts.value[e, a]]}": (e, a)
        for e in facts.stored
        for a, kind in enumerate(made.ATTRIBUTES)
    }
    assert len(facts.stored) == made.STORED < made.THINGS
    every, fits_ = made.every()[::3], []
    for q, text in zip(every.tolist(), facts.asked_by("context", every, Rng(3)), strict=True):
        sentence, question = text.split(" . ", 1)
        words = set(facts.text(q).split())
        most = max(len(words & set(s.split())) for s in stored)
        assert question == facts.text(q) and len(words & set(sentence.split())) == most
        fits_.append((*q, stored[sentence] == (q[0], q[1])))
    plain = [ok for e, _, way, name, ok in fits_ if e in facts.stored and way < 4 and name == 0]
    other = [ok for e, _, way, name, ok in fits_ if e not in facts.stored]
    alias = [ok for e, _, way, name, ok in fits_ if e in facts.stored and way < 4 and name == 1]
    assert all(plain) and not any(other) and sum(alias) < 0.2 * len(alias)


@pytest.mark.full
def test_stories_teach_a_panel_to_read_the_sentence(facts: made.Facts) -> None:
    """Where the right sentence is found, it helps; without stories facts are known by heart, and
    the sentence is hardly read.
    """
    q = torch.tensor([[e, a, 0, 0] for e in facts.stored for a in range(4)])

    def helps(stories: float) -> float:
        said, updates = fact_panel.panel(
            facts, Rng(0)("panel"), widths=(24,), at=(150,), batch=64, lr=1e-2, stories=stories
        )
        assert said.shape == (3, 1, len(made.every()), len(made.ANSWERS)) and updates == 150
        assert torch.allclose(said.sum(-1), torch.ones(()).double())
        by = {
            r: fact_panel.risk(facts, s, q, q).mean()
            for r, s in zip(made.ROUTES, said, strict=True)
        }
        return float(by["alone"] - by["context"])

    assert helps(0.25) > helps(0.0) + 0.1


def test_tested_questions_have_no_label() -> None:
    parts = made.divided(400, 100, Rng(0))
    assert parts is not None
    train, test = parts
    assert (len(train), len(test)) == (400, 100)
    assert not {*made.place(train).tolist()} & {*made.place(test).tolist()}
    assert len(train[:, 0].unique()) == made.THINGS, "seldom ones have labels too"


def test_an_expected_label_is_the_mean_of_labels(facts: made.Facts) -> None:
    """Of 4,000 labels for each of some questions, with rewrites that slip half of the time."""
    draw = torch.Generator().manual_seed(0)
    every = made.every()
    logit = 3 * torch.randn(2, len(every), len(made.ANSWERS), generator=draw).double()
    said = (logit + 8 * torch.nn.functional.one_hot(facts.right(every))).softmax(-1)
    q = every[::101]
    ways = made.rewritten(q, 3 * 4000, Rng(1), slip=0.5)
    risk = fact_panel.risk(facts, said, ways, q[:, None])
    own = fact_panel.risk(facts, said, q, q)
    mean = (own + 3 * risk.mean(1)) / 4
    found = fact_panel.expected(facts, said, rewrites=3, slip=0.5)[made.place(q)]
    assert torch.allclose(found, mean, atol=0.02) and not torch.allclose(found, own, atol=0.1)
    still = fact_panel.expected(facts, said, rewrites=0, slip=0.5)
    assert torch.allclose(still, fact_panel.risk(facts, said, every, every))


def test_true_risk_is_of_the_question_that_was_meant(facts: made.Facts) -> None:
    """Two members: one always right, one that says the first answer; by hand."""
    every = made.every()
    right = torch.nn.functional.one_hot(facts.right(every), len(made.ANSWERS)).double()
    said = torch.stack([right, right.roll(1, -1)])
    q = torch.tensor([[0, 0, 0, 0]])
    assert fact_panel.risk(facts, said, q, q).tolist() == pytest.approx([0.5])
    other = next(
        e for e in range(made.THINGS) if (facts.value[e, 0] - facts.value[0, 0]) not in (0, -1)
    )
    slip = torch.tensor([[[other, 0, 0, 0]]])
    assert fact_panel.risk(facts, said, slip, q[:, None]).tolist() == [[1.0]], (
        "right, of another thing"
    )
    answers = fact_panel.drawn(said[:1], q[:, None].expand(1, 50, 4), Rng(0))
    assert bool((answers == facts.right(q)).all())
