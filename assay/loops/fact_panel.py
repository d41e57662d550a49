"""A panel of small language models that learn to answer questions about made-up facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Prompts, Rng, Samples
from assay.engine import descend
from assay.formulas import reduce
from assay.loops.fact_questions import (
    ANSWERS,
    ATTRIBUTES,
    NAMES,
    ROUTES,
    THINGS,
    WAYS,
    Facts,
    asked,
    chances,
    every,
    place,
    values,
)
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal


def panel(
    world: Facts,
    rng: Rng,
    *,
    widths: Sequence[int],
    at: Sequence[int],
    batch: int,
    lr: float,
    stories: float,
) -> tuple[Float[Tensor, "R P Q V"], int]:
    """Train models on questions by all routes and their answers; what each says to every question.

    Facts are soon known by heart, so that facts alone would not teach a model to read a sentence.
    So a share of the text is stories: things have attributes that no other story gives them, and
    the answer stands in the sentence or nowhere.

    Args:
        world: The facts.
        rng: Address of weights and text.
        widths: Of the models, each divisible by eight.
        at: Steps at which a model joins the panel, ascending.
        batch: Questions a step.
        lr: Learning rate.
        stories: Share of the questions that are about stories.

    Returns:
        P(answer) over `ANSWERS` of each route and model, in the order of `every`, and the updates
        made.
    """
    said, questions = [], every()
    ways = [world.vocabulary.prompts(world.asked_by(r, questions, rng("every"))) for r in ROUTES]
    first, last = (world.vocabulary.ids[w] for w in (ANSWERS[0], ANSWERS[-1]))
    told = round(stories * batch)
    for width in widths:
        size = Config(len(world.vocabulary), width, 1, heads=4, kv_heads=4, inner=2 * width)
        model = Causal(Llama(size, rng("model", width)), world.vocabulary, max_tokens=2)
        optimiser = Loop(max_steps=max(at), learning_rate=lr, warmup_steps=10).optimiser(model)
        for t in range(max(at)):
            text = _facts(world, batch - told, rng("text", width, t))
            text += _story(world, told, rng("story", width, t))
            prompts, answers = zip(*text, strict=True)
            rows = world.vocabulary.completions(world.vocabulary.prompts(prompts), answers)
            descend.descend(optimiser, _minus_logp(model), rows, reduce=reduce.per_token)
            if t + 1 in at:
                said.append(torch.stack([_answers(model, w)[:, first : last + 1] for w in ways]))
    out = torch.stack(said, 1).double()
    return out / out.sum(-1, keepdim=True), max(at) * len(widths)


def _facts(world: Facts, n: int, rng: Rng) -> list[tuple[str, list[str]]]:
    """Questions as people put them, each by a route at random, and their answers."""
    questions = asked(n, rng)
    by = rng("route").integers(len(ROUTES), torch.arange(n))
    out = list[tuple[str, list[str]]]()
    for r, route in enumerate(ROUTES):
        mine = questions[by == r]
        right = world.right(mine).tolist()
        put = world.asked_by(route, mine, rng("put", r))
        out += [(text, [ANSWERS[a]]) for text, a in zip(put, right, strict=True)]
    return out


def _story(world: Facts, n: int, rng: Rng) -> list[tuple[str, list[str]]]:
    """Questions about things of a story, each with the sentence that is found in it."""
    told = replace(world, value=values(rng("values")), stored=tuple(range(THINGS)))
    questions = asked(n, rng, evenly=True)
    right = told.right(questions).tolist()
    put = told.asked_by("context", questions, rng("put"))
    return [(text, [ANSWERS[a]]) for text, a in zip(put, right, strict=True)]


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


def expected(
    world: Facts, said: Float[Tensor, "P Q V"], *, rewrites: int, slip: float
) -> Float[Tensor, "Q"]:
    """What a question's label is on average: the p̂ of a perfect predictor.

        p̂(q) = (risk(q) + rewrites·E[risk of a rewrite of q])/(1 + rewrites)

    It is exact over all that `rewritten` draws, and wrong is what does not answer q.

    Args:
        world: The facts.
        said: P(answer) of each model, by one route.
        rewrites: That are answered beside a question.
        slip: Chance that a rewrite is about another thing.

    Returns:
        A risk for each question, in the order of `every`.
    """
    own = said.mean(0).view(THINGS, len(ATTRIBUTES), len(WAYS), NAMES, -1)
    put = (own + own.mean(2, keepdim=True)) / 2
    put = (put + put.mean(3, keepdim=True)) / 2
    other = torch.einsum("e,eawnv->awnv", chances(THINGS), put)
    mean = (own + rewrites * ((1 - slip) * put + slip * other)) / (1 + rewrites)
    questions = every()
    return 1 - mean.flatten(0, 3).gather(1, world.right(questions)[:, None])[:, 0]
