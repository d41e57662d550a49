"""Why a benchmark's score is hard to foresee: five metrics, from log-probability to accuracy.

On a multiple-choice question the score is the end of a chain, and each step of it forgets
something:

    log p(right)   →   p(right)   →   p(right)/Σ p(choices)   →   −Brier   →   1[right is likeliest]

The first two know what the model says of the right choice and move smoothly with scale. The third
divides by what lies on the *specific wrong choices* that happen to be offered, whose mass moves
with scale too, differently from question to question; the last one sees only on which side of a tie
it is. The paper measures this question by question: the correlation of a question's score with log
compute over a family of models. It falls along the chain, so a score that cannot be foreseen need
not be a faculty that emerges.

The family here is of language models trained on a real text, character by character: every width
of `widths`, asked at every step of `at`; scale is log(6·N·D) with N parameters and D characters
seen. A question is the beginning of a row of text that no model is trained on, the right choice is
how the row goes on, and the wrong ones are how other rows end. With `models=FOLDER,FOLDER…` and
`questions=FILE` (JSON lines: question, choices, answer) the family is your own models of
transformers, asked your own questions; `compute` is what each cost to train.

For each metric it gives the mean over questions of Spearman's and Pearson's correlation with scale,
the share of questions whose Spearman correlation is above ½, and the mean score at the smallest and
at the largest scale. Questions on which a metric never moves have no correlation; they count as 0,
and `still` says how many. With accuracy these are many, so the claim compares with the Brier score,
the last of the chain that always moves. Two more families are read from the same numbers, with the
right choice's as they are: `frozen`, in which the wrong choices' log-probabilities stay at their
mean over the family, so that the third step forgets nothing, by algebra; and `common`, the negative
control, in which they move with scale as those of all questions do on average. What is lost there
is owed to wrong choices in general, and not to those that a question happens to offer.

The rule that this library takes from it: a reading carries log-probabilities, and mass on specific
wrong answers, before any thresholded rate.

Here: Spearman's correlation falls by 0.66 from log p to the Brier score. Two thirds of it are lost
already where all wrong choices move alike, because endings become likelier with scale whether they
are right or wrong; 0.22 is owed to the choices that a question happens to offer (`assay claims
--run continuous_metrics --world study`). It cannot show whether models a million times larger do
the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, InputError, Paper, World
from assay.loops.choices import family_of_models, family_of_text
from assay.loops.language_models import characters, read

paper = Paper(
    "Why Has Predicting Downstream Capabilities of Frontier AI Models with Scale Remained Elusive?",
    "Schaeffer et al.",
    2024,
    "arXiv:2406.04391",
)
reduces = {}
CHAIN = ("log_p", "p", "p_choices", "brier", "accuracy")
FAMILIES = ("trained", "frozen", "common")


def study(
    world: World,
    *,
    text: str = "",
    models: tuple[str, ...] = (),
    questions: str = "",
    compute: tuple[float, ...] = (),
    widths: tuple[int, ...] = (8, 16, 48),
    at: tuple[int, ...] = (10, 30, 90, 270),
    asked: int = 200,
    choices: int = 4,
    length: int = 32,
    ending: int = 8,
    lr: float = 1e-2,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each metric of each family.

    Args:
        text: File of UTF-8 text; empty for the manual of Python.
        models: Folders or ids of causal language models, three or more; empty to train a family.
        questions: File of questions for them, JSON lines with question, choices and answer.
        compute: What each of `models` cost to train, in one unit; empty for their parameters.
        widths: Widths of the models that are trained.
        at: Steps at which each of these is asked.
        asked: Questions that are made from the text.
        choices: Choices offered, the right one among them; at least 2.
        length: Characters of a row of text.
        ending: Characters of a choice, fewer than a row has.
        lr: Learning rate of the models that are trained.
    """
    rng = world.task.rng("continuous metrics")
    if models:
        if len(models) < 3 or not questions:
            raise InputError(
                f"--models names {len(models)}; a correlation needs three models, and they need "
                "--questions FILE"
            )
        if compute and (len(compute) != len(models) or min(compute) <= 0):
            raise InputError(f"--compute is {list(compute)}; it is one number above 0 a model")
        found = family_of_models(models, Path(questions), compute)
    else:
        if len(widths) * len(at) < 3 or choices < 2 or not 0 < ending < length:
            raise InputError(
                f"--widths is {list(widths)}, --at {list(at)}, --choices {choices} and --ending "
                f"{ending} of --length {length}; a correlation needs three models, a question two "
                "choices, and a choice is shorter than a row"
            )
        found = family_of_text(
            characters(read(text), length, rng("text")),
            rng,
            widths=widths,
            at=sorted(at),
            questions=asked,
            choices=choices,
            ending=ending,
            lr=lr,
        )
    logp, scale = found.logp, found.scale
    right, wrong = logp[..., :1], logp[..., 1:]
    level = wrong.mean(0, keepdim=True).expand_as(wrong)
    every = wrong.mean((1, 2), keepdim=True)  # [S,1,1]: how they move on average
    still = torch.cat([right, level], -1)
    alike = torch.cat([right, level + every - every.mean()], -1)
    for name, of in zip(FAMILIES, (logp, still, alike), strict=True):
        yield from described(name, of, scale)
    spent = {"updates": found.updates, "scored": logp.numel()}
    yield from ({"kind": "spent", "arm": name, **spent} for name in FAMILIES)


def described(
    family: str, logp: Float[Tensor, "S B C"], scale: Float[Tensor, "S"]
) -> Iterator[dict[str, Any]]:
    """Correlations of every metric with scale, and of the mass on the wrong choices."""
    scores, B = metrics(logp), logp.shape[1]
    for name in (*CHAIN, "wrong"):
        y = scores[name]  # [S,B]
        x = scale[:, None].expand_as(y)
        rank, line = correlation(ranks(y), ranks(x)), correlation(y, x)
        yield {
            "family": family,
            "metric": "mass on the wrong choices" if name == "wrong" else name,
            "spearman": float(rank.mean()),
            "pearson": float(line.mean()),
            "above_half": float((rank > 0.5).double().mean()),
            "below_half": float((rank < -0.5).double().mean()),
            "still": int((y == y[:1]).all(0).sum()),
            "questions": B,
            "models": len(scale),
            "chance": 1 / logp.shape[2],
            "smallest": float(y[0].mean()),
            "largest": float(y[-1].mean()),
        }


def metrics(logp: Float[Tensor, "S B C"]) -> dict[str, Float[Tensor, "S B"]]:
    """Compute the chain for each model and question; the right choice stands first.

    Higher is better. `wrong` is log of the mass on the wrong choices.
    """
    share = logp.softmax(-1)
    brier = (1 - share[..., 0]).square() + share[..., 1:].square().sum(-1)
    return {
        "log_p": logp[..., 0],
        "p": logp[..., 0].exp(),
        "p_choices": share[..., 0],
        "brier": -brier,
        "accuracy": (logp[..., 0] > logp[..., 1:].amax(-1)).double(),
        "wrong": logp[..., 1:].logsumexp(-1),
    }


def ranks(y: Float[Tensor, "S B"]) -> Float[Tensor, "S B"]:
    """Ranks along the first axis; ties get their mean rank."""
    return (y[:, None] > y[None]).double().sum(1) + 0.5 * (y[:, None] == y[None]).double().sum(1)


def correlation(x: Float[Tensor, "S B"], y: Float[Tensor, "S B"]) -> Float[Tensor, "B"]:
    """Pearson's correlation along the first axis; 0 where one side does not move.

    Each side is divided by its largest deviation first, because p of a long choice is so small
    that its square is not a number.
    """
    a, b = x - x.mean(0), y - y.mean(0)
    a = a / a.abs().amax(0).clamp(min=1e-300)
    b = b / b.abs().amax(0).clamp(min=1e-300)
    size = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(size > 1e-12, (a * b).sum(0) / size.clamp(min=1e-12), torch.zeros_like(size))


@Claim(
    "A question's score follows scale less along the chain from the log-probability of the right "
    "answer to what the wrong choices have a part in.",
    arms={"study": ("continuous_metrics", {})},
    worlds=("study",),
    control=("Brier, over common movement",),
    broken="a question's wrong choices move with scale as those of all questions do on average",
    least={
        "the largest model answers above chance": 0.05,
        "share among choices": 0.1,
        "Brier": 0.1,
        "Brier, over common movement": 0.1,
    },
    seeds="300..309",
    premises=("the largest model answers above chance",),
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Losses of mean Spearman correlation with scale: from log p to the share among choices, to the
    Brier score, and to Brier beyond the same loss where all wrong choices move alike; and the
    accuracy of the largest model above chance, without which there is nothing to foresee. All seeds
    read one text: the interval is over its questions, first weights and orders.
    """
    at = {(x["family"], x["metric"]): x["spearman"] for x in arms["study"] if "metric" in x}
    loss = {f: at[f, "log_p"] - at[f, "brier"] for f in FAMILIES}
    best = next(
        x for x in arms["study"] if x.get("metric") == "accuracy" and x["family"] == "trained"
    )
    return {
        "the largest model answers above chance": best["largest"] - best["chance"],
        "share among choices": at["trained", "log_p"] - at["trained", "p_choices"],
        "Brier": loss["trained"],
        "Brier, over common movement": loss["trained"] - loss["common"],
    }
