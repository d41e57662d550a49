"""Questions about made-up facts, and the routes by which a model can be asked them.

Of every thing four attributes are known. A question can be put in eight ways, of which the last
four name an attribute or a thing that is not asked about, and every thing has two names. What is
asked about often, in a common way, by its common name, stands often in the text that the models
learn; the rest seldom. So some questions are risky, and some ways of putting a question are riskier
than others, as it is with models and people's questions.

A question is asked alone (abstractive), with four choices (multiple choice), or with a sentence
that was found for it (extractive). Sentences are stored about two things in three, and the one that
shares most words with the question is found: where it is about something else, it misleads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Prompts, Rng
from assay.models.vocabulary import Vocabulary

WAYS = (
    "what is the {a} of {e} ?",
    "which {a} does {e} have ?",
    "tell me the {a} of {e} .",
    "{e} has which {a} ?",
    "never mind the {b} , what is the {a} of {e} ?",
    "unlike {f} , which {a} does {e} have ?",
    "of {e} and {f} , name the {a} of the first .",
    "not the {b} but the {a} of {e} ?",
)
VALUES = {
    "colour": ("red", "blue", "green", "white", "black", "brown", "grey", "pink"),
    "food": ("bread", "fish", "grass", "fruit", "nuts", "rice", "roots", "seeds"),
    "home": ("cave", "lake", "tree", "barn", "hill", "shore", "field", "roof"),
    "size": ("tiny", "small", "short", "middling", "tall", "large", "wide", "huge"),
}
ATTRIBUTES = tuple(VALUES)
ANSWERS = tuple(itertools.chain.from_iterable(VALUES.values()))
THINGS, NAMES, STORED = 24, 2, 16
ROUTES = {
    "alone": "{q}",
    "choices": "one of {c[0]} {c[1]} {c[2]} {c[3]} . {q}",
    "context": "the {a} of {e} is {v} . {q}",
}
WORDS = tuple(len(form.split()) - 1 for form in ROUTES.values())  # beside the question's


@dataclass(frozen=True)
class Facts:
    """A world of facts, and how often each question is put.

    A question is a row of four numbers: thing, attribute, way, name.

    Attributes:
        vocabulary: Of all words.
        names: The two names of each thing.
        value: The place in `ANSWERS` of each thing's attributes `[THINGS, 4]`.
        stored: The things that sentences can be found about.
    """

    vocabulary: Vocabulary
    names: tuple[tuple[str, str], ...]
    value: Int[Tensor, "E A"]
    stored: tuple[int, ...]

    def text(self, question: Sequence[int]) -> str:
        """The words of a question."""
        e, a, way, name = question
        other, beside = ATTRIBUTES[(a + 1) % len(ATTRIBUTES)], self.names[(e + 7) % THINGS][0]
        return WAYS[way].format(a=ATTRIBUTES[a], e=self.names[e][name], b=other, f=beside)

    def asked_by(self, route: str, questions: Int[Tensor, "R 4"], rng: Rng) -> list[str]:
        """The words that a model reads when questions are sent by a route.

        Args:
            route: One of `ROUTES`.
            questions: Rows.
            rng: Address of what is drawn: wrong choices and their order, and, of sentences that
                have as many of the question's words, which one is found.
        """
        rows = torch.arange(len(questions))[:, None]
        u = rng.uniform(rows, torch.arange(9), dtype=torch.float64).tolist()
        return [
            ROUTES[route].format(q=self.text(q), c=self._choices(q, x), **self._found(q, x))
            for q, x in zip(questions.tolist(), u, strict=True)
        ]

    def _choices(self, question: Sequence[int], u: Sequence[float]) -> list[str]:
        """The right answer among three others of its kind."""
        e, a = question[:2]
        right, values = ANSWERS[self.value[e, a]], VALUES[ATTRIBUTES[a]]
        others = sorted((x, v) for x, v in zip(u, values, strict=False) if v != right)
        out = [v for _, v in others[:3]]
        out.insert(int(4 * u[8]), right)
        return out

    def _found(self, question: Sequence[int], u: Sequence[float]) -> dict[str, str]:
        """The stored sentence that shares most words with a question.

        Sentences call things by their first names.
        """
        words = set(self.text(question).split())
        things = [e for e in self.stored if self.names[e][0] in words] or self.stored
        kinds = [a for a, kind in enumerate(ATTRIBUTES) if kind in words]
        e, a = things[int(u[0] * len(things))], kinds[int(u[1] * len(kinds))]
        value = ANSWERS[self.value[e, a]]
        return {"a": ATTRIBUTES[a], "e": self.names[e][0], "v": value}

    def prompts(self, questions: Int[Tensor, "R 4"]) -> Prompts:
        """The questions as prompts."""
        return self.vocabulary.prompts([self.text(q) for q in questions.tolist()])

    def right(self, questions: Int[Tensor, "*S 4"]) -> Int[Tensor, "*S"]:
        """The place in `ANSWERS` of the right answer."""
        return self.value[questions[..., 0], questions[..., 1]]


def facts(rng: Rng) -> Facts:
    """Draw names and values."""
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    made = itertools.product(syllables, syllables)
    words = [a + b for a, b in made if a + b not in ANSWERS]
    written = (*WAYS, *ROUTES.values())
    common = sorted({w for form in written for w in form.split() if "{" not in w})
    order = (words[i] for i in rng("names").permutation(len(words)).tolist())
    free = (w for w in order if w not in common and w not in ATTRIBUTES)  # "name" is such a word
    chosen = list(itertools.islice(free, THINGS * NAMES))
    names = tuple(zip(chosen[:THINGS], chosen[THINGS:], strict=True))
    vocabulary = Vocabulary([*common, *ATTRIBUTES, *ANSWERS, *chosen])
    stored = rng("stored").permutation(THINGS)[:STORED].sort().values
    return Facts(vocabulary, names, values(rng("values")), tuple(stored.tolist()))


def values(rng: Rng) -> Int[Tensor, "E A"]:
    """Draw every thing's attributes, as places in `ANSWERS`."""
    drawn = rng.integers(8, torch.arange(THINGS)[:, None], torch.arange(len(ATTRIBUTES)))
    return drawn + 8 * torch.arange(len(ATTRIBUTES))


def chances(n: int, *, power: float = 1.0) -> Float[Tensor, "n"]:
    """Chances of ranks 0 … n−1, ∝ 1/(rank + 1)^power."""
    chance = 1 / torch.arange(1, n + 1, dtype=torch.float64) ** power
    return chance / chance.sum()


def zipf(n: int, u: Float[Tensor, "*S"], *, power: float = 1.0) -> Int[Tensor, "*S"]:
    """Draw ranks with their `chances`, from uniform numbers."""
    cumulative = chances(n, power=power).cumsum(0)
    return torch.searchsorted(cumulative, u.double().contiguous()).clamp(max=n - 1)


def asked(n: int, rng: Rng, *, evenly: bool = False) -> Int[Tensor, "n 4"]:
    """Draw questions as people put them: common things, ways and names more often.

    Args:
        n: Questions.
        rng: Their address.
        evenly: Draw every thing as often as any other, so that seldom ones have labels too.
    """
    u = rng.uniform(torch.arange(n)[:, None], torch.arange(4), dtype=torch.float64)
    thing = (u[:, 0] * THINGS).long() if evenly else zipf(THINGS, u[:, 0])
    way, name = zipf(len(WAYS), u[:, 2], power=2.0), (u[:, 3] > 0.8).long()
    return torch.stack([thing, (u[:, 1] * len(ATTRIBUTES)).long(), way, name], 1)


def rewritten(
    questions: Int[Tensor, "B 4"], n: int, rng: Rng, *, slip: float
) -> Int[Tensor, "B n 4"]:
    """Rewrite questions at random: another way in half of them, another name in half of them.

    With chance `slip` a rewrite is about another thing, a common one more often: it fails as a
    paraphrase, and may be easier to answer.
    """
    b, k = torch.arange(len(questions))[:, None], torch.arange(n)
    out = questions[:, None].repeat(1, n, 1)
    u = rng.uniform(b[..., None], k[:, None], torch.arange(6), dtype=torch.float64)
    out[..., 2] = torch.where(u[..., 0] < 0.5, (u[..., 1] * len(WAYS)).long(), out[..., 2])
    out[..., 3] = torch.where(u[..., 2] < 0.5, (u[..., 3] * NAMES).long(), out[..., 3])
    out[..., 0] = torch.where(u[..., 4] < slip, zipf(THINGS, u[..., 5]), out[..., 0])
    return out


def every() -> Int[Tensor, "Q 4"]:
    """All questions, in the order of `place`."""
    sizes = (THINGS, len(ATTRIBUTES), len(WAYS), NAMES)
    return torch.cartesian_prod(*(torch.arange(s) for s in sizes))


def place(questions: Int[Tensor, "*S 4"]) -> Int[Tensor, "*S"]:
    """A question's place among all."""
    e, a, way, name = questions.unbind(-1)
    return ((e * len(ATTRIBUTES) + a) * len(WAYS) + way) * NAMES + name


def divided(
    labelled: int, tested: int, rng: Rng
) -> tuple[Int[Tensor, "Q 4"], Int[Tensor, "T 4"]] | None:
    """Draw questions about all things alike; of those that are tested, none has a label.

    Returns:
        The labelled and the tested questions; None where there are fewer.
    """
    n = len(every())
    held = torch.zeros(n, dtype=torch.bool)
    held[rng("held out").permutation(n)[: n // 4]] = True
    many = asked(8 * max(labelled, tested), rng("asked"), evenly=True)
    out = held[place(many)]
    train, test = many[~out][:labelled], many[out][:tested]
    return (train, test) if len(train) == labelled and len(test) == tested else None


def words_kept(
    rewrites: Prompts, questions: Prompts, shape: tuple[int, int]
) -> Float[Tensor, "B n"]:
    """Share of a rewrite's words that its question has too: a measure of meaning that is blind to
    which word matters.
    """
    B, n = shape
    own, other = rewrites.tokens.view(B, n, -1), questions.tokens[:, None, None]
    has: Bool[Tensor, "B n P"] = (own[..., None] == other).any(-1) & rewrites.mask.view(B, n, -1)
    return has.double().sum(-1) / rewrites.mask.view(B, n, -1).double().sum(-1)
