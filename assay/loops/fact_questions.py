"""Questions about made-up facts, and a panel of small language models that learn to answer them.

Of every thing four attributes are known. A question can be put in eight ways, of which the last
four name an attribute or a thing that is not asked about, and every thing has two names. What is
asked about often, in a common way, by its common name, stands often in the text that the models
learn; the rest seldom. So some questions are risky, and some ways of putting a question are riskier
than others, as it is with models and people's questions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Loop, Prompts, Rng, Samples
from assay.engine import descend
from assay.formulas import reduce
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
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
THINGS, NAMES = 24, 2


@dataclass(frozen=True)
class Facts:
    """A world of facts, and how often each question is put.

    A question is a row of four numbers: thing, attribute, way, name.

    Attributes:
        vocabulary: Of all words.
        names: The two names of each thing.
        value: The place in `ANSWERS` of each thing's attributes `[THINGS, 4]`.
    """

    vocabulary: Vocabulary
    names: tuple[tuple[str, str], ...]
    value: Int[Tensor, "E A"]

    def text(self, question: Sequence[int]) -> str:
        """The words of a question."""
        e, a, way, name = question
        other, beside = ATTRIBUTES[(a + 1) % len(ATTRIBUTES)], self.names[(e + 7) % THINGS][0]
        return WAYS[way].format(a=ATTRIBUTES[a], e=self.names[e][name], b=other, f=beside)

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
    common = sorted({w for way in WAYS for w in way.split() if "{" not in w})
    order = (words[i] for i in rng("names").permutation(len(words)).tolist())
    free = (w for w in order if w not in common and w not in ATTRIBUTES)  # "name" is such a word
    chosen = list(itertools.islice(free, THINGS * NAMES))
    names = tuple(zip(chosen[:THINGS], chosen[THINGS:], strict=True))
    vocabulary = Vocabulary([*common, *ATTRIBUTES, *ANSWERS, *chosen])
    drawn = rng("values").integers(8, torch.arange(THINGS)[:, None], torch.arange(4))
    return Facts(vocabulary, names, drawn + 8 * torch.arange(4))


def zipf(n: int, u: Float[Tensor, "*S"], *, power: float = 1.0) -> Int[Tensor, "*S"]:
    """Draw ranks 0 … n−1 with chance ∝ 1/(rank + 1)^power, from uniform numbers."""
    chance = 1 / torch.arange(1, n + 1, dtype=torch.float64) ** power
    cumulative = (chance / chance.sum()).cumsum(0)
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


def panel(
    world: Facts, rng: Rng, *, widths: Sequence[int], at: Sequence[int], batch: int, lr: float
) -> tuple[Float[Tensor, "P Q V"], int]:
    """Train models on questions and answers; what each says to every question.

    Args:
        world: The facts.
        rng: Address of weights and text.
        widths: Of the models, each an even number.
        at: Steps at which a model joins the panel, ascending.
        batch: Questions a step.
        lr: Learning rate.

    Returns:
        P(answer) over `ANSWERS` of each model, in the order of `every`, and the updates made.
    """
    said, questions = [], every()
    prompts = world.prompts(questions)
    text = world.vocabulary.completions(
        prompts, [[ANSWERS[i]] for i in world.right(questions).tolist()]
    )
    first, last = (world.vocabulary.ids[w] for w in (ANSWERS[0], ANSWERS[-1]))
    for width in widths:
        size = Config(len(world.vocabulary), width, 1, heads=2, kv_heads=2, inner=2 * width)
        model = Causal(Llama(size, rng("model", width)), world.vocabulary, max_tokens=2)
        optimiser = Loop(max_steps=max(at), learning_rate=lr, warmup_steps=10).optimiser(model)
        for t in range(max(at)):
            rows = text[place(asked(batch, rng("text", width, t)))]
            descend.descend(optimiser, _minus_logp(model), rows, reduce=reduce.per_token)
            if t + 1 in at:
                said.append(_answers(model, prompts)[:, first : last + 1])
    return torch.stack([(s / s.sum(-1, keepdim=True)).double() for s in said]), max(at) * len(
        widths
    )


def _minus_logp(model: Causal) -> Callable[[Samples, Any], Tensor]:
    return lambda rows, _: -model.logp(rows)


@torch.no_grad()
def _answers(model: Causal, prompts: Prompts) -> Float[Tensor, "Q V"]:
    """P(next token) after each prompt."""
    hidden = model.backbone.hidden(prompts.tokens, prompts.mask)[:, -1]
    return torch.as_tensor(model.backbone.logits(hidden).softmax(-1))


def drawn(
    said: Float[Tensor, "P Q V"], questions: Int[Tensor, "B n 4"], rng: Rng
) -> Int[Tensor, "B n"]:
    """One answer to each question, each by a member of the panel at random."""
    B, n = questions.shape[:2]
    b, k = torch.arange(B)[:, None], torch.arange(n)
    member = rng("member").integers(len(said), b, k)
    chance = said[member, place(questions)].cumsum(-1)
    u = rng("answer").uniform(b, k, dtype=torch.float64)[..., None]
    return (chance < u * chance[..., -1:]).sum(-1).clamp(max=said.shape[-1] - 1)


def risk(
    world: Facts, said: Float[Tensor, "P Q V"], questions: Int[Tensor, "*S 4"], meant: Tensor
) -> Float[Tensor, "*S"]:
    """Chance that a member at random answers wrongly what was `meant`, put as `questions`."""
    p = said.mean(0)[place(questions)]
    return 1 - p.gather(-1, world.right(meant).expand(p.shape[:-1])[..., None])[..., 0]


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
