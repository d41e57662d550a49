"""Why a benchmark's score is hard to foresee: five metrics, from log-probability to accuracy.

On a multiple-choice question the score is the end of a chain, and each step of it forgets
something:

    log p(right)   →   p(right)   →   p(right)/Σ p(choices)   →   −Brier   →   1[right is likeliest]

The first two know the whole distribution over answers and move smoothly with scale. The third
divides by what lies on the *specific wrong answers* that happen to be offered, whose mass moves
with scale too, differently from question to question; the last one sees only on which side of a tie
it is. The paper measures this question by question: the correlation of a question's score with log
compute over a family of models. It falls along the chain, so a score that cannot be foreseen need
not be a faculty that emerges.

This study runs on the table world's bandit, whose prompts are the questions. The right choice is
the prompt's best answer by gold; the wrong ones are sampled from the teacher, as things that a
demonstrator could also say. The family of models: `scales` sizes of data by doubling, each model
the smoothed counts of that many demonstrations a question from one and the same teacher, π ∝
π₀·e^{sharpness·gold}, so that good and nearly good answers both gain mass. Nothing is trained by
gradient: what is measured is the metrics, not an optimiser.

For each metric it gives the mean over questions of Spearman's and Pearson's correlation with log
data, the share of questions whose Spearman correlation is above ½, and the mean score at the
smallest and at the largest scale. Questions on which a metric never moves have no correlation; they
count as 0, and `still` says how many. With accuracy these are most of them, so the claim compares
with the Brier score, the last of the chain that always moves.

The rule that this library takes from it: a reading carries log-probabilities, and mass on specific
wrong answers, before any thresholded rate.

Here: what it cannot show is how real distractors gain mass in a language model. Here they gain it
because the teacher likes them, and by how much is `sharpness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Claim, InputError, Paper, World
from assay.models.policies.table import TablePolicy

paper = Paper(
    "Why Has Predicting Downstream Capabilities of Frontier AI Models with Scale Remained Elusive?",
    "Schaeffer et al.",
    2024,
    "arXiv:2406.04391",
)
reduces = {}
CHAIN = ("log_p", "p", "p_choices", "brier", "accuracy")


def study(
    world: World,
    *,
    scales: int = 10,
    smallest: int = 8,
    choices: int = 4,
    smoothing: float = 32.0,
    sharpness: float = 1.0,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each metric.

    Args:
        scales: Models of the family, each on twice the data; at least 3.
        smallest: Demonstrations a question of the first model.
        choices: Choices offered, the right one among them; at least 2.
        smoothing: Demonstrations that the reference is worth.
        sharpness: Of the teacher, per unit of gold.
    """
    policy = world.task.reference
    if not isinstance(policy, TablePolicy) or policy.length != 1 or world.gold is None:
        raise InputError(
            "this study reads whole distributions over completions; use --world table "
            "--world.testbed bandit"
        )
    if scales < 3 or choices < 2:
        raise InputError(
            f"--scales is {scales} and --choices {choices}; a correlation needs 3 scales, a "
            "question 2 choices"
        )
    prompts, rng = world.task.prompts, world.task.rng("questions")
    base = policy.log_probs(prompts).double()
    B, V = base.shape
    every = policy.encode(prompts.text(), [list(policy.words.tokens)] * B)
    gold = world.gold(every)[0].double()
    teacher = (base + sharpness * gold).softmax(-1)
    right = gold.argmax(-1, keepdim=True)
    draw = teacher.log() + rng("offer").gumbel(
        torch.arange(B)[:, None], torch.arange(V), dtype=torch.float64
    )
    wrong = draw.scatter(-1, right, -torch.inf).topk(choices - 1).indices
    offered = torch.cat([right, wrong], -1)
    models = family(teacher, base.exp(), scales, smallest, smoothing, rng("data"))
    scores = metrics(models, offered)
    data = torch.tensor([float(smallest * 2**k) for k in range(scales)], dtype=torch.float64).log()
    for name in CHAIN:
        y = scores[name]  # [S,B]
        rank, line = (
            correlation(ranks(y), ranks(data[:, None].expand_as(y))),
            correlation(y, data[:, None].expand_as(y)),
        )
        yield {
            "metric": name,
            "spearman": float(rank.mean()),
            "pearson": float(line.mean()),
            "above_half": float((rank > 0.5).double().mean()),
            "still": int((y == y[:1]).all(0).sum()),
            "questions": B,
            "smallest": float(y[0].mean()),
            "largest": float(y[-1].mean()),
        }
    y = scores["wrong"]
    follows = correlation(ranks(y), ranks(data[:, None].expand_as(y)))
    yield {
        "metric": "mass on the wrong choices",
        "spearman": float(follows.mean()),
        "rises": float((follows > 0.5).double().mean()),
        "falls": float((follows < -0.5).double().mean()),
        "smallest": float(y[0].mean()),
        "largest": float(y[-1].mean()),
    }


def family(
    teacher: Tensor, base: Tensor, scales: int, smallest: int, smoothing: float, rng: Any
) -> Float[Tensor, "S B V"]:
    """(counts + smoothing·π₀)/(data + smoothing); each model has seen what the smaller ones saw."""
    B, V = teacher.shape
    most = smallest * 2 ** (scales - 1)
    u = rng.uniform(torch.arange(B)[:, None], torch.arange(most), dtype=torch.float64)
    drawn = torch.searchsorted(teacher.cumsum(-1), u).clamp(max=V - 1)
    out = []
    for k in range(scales):
        n = smallest * 2**k
        counts = torch.zeros_like(teacher).scatter_add(
            -1, drawn[:, :n], torch.ones(B, n, dtype=teacher.dtype)
        )
        out.append((counts + smoothing * base) / (n + smoothing))
    return torch.stack(out)


def metrics(
    p: Float[Tensor, "S B V"], offered: Int[Tensor, "B C"]
) -> dict[str, Float[Tensor, "S B"]]:
    """Compute the chain for each model and question; the right choice is offered first.

    Higher is better. `wrong` is the mass on the wrong choices.
    """
    mass = p.gather(-1, offered.expand(len(p), -1, -1))
    right, wrong = mass[..., 0], mass[..., 1:].sum(-1)
    share = mass / mass.sum(-1, keepdim=True)
    brier = (1 - share[..., 0]).square() + share[..., 1:].square().sum(-1)
    return {
        "log_p": right.log(),
        "p": right,
        "p_choices": share[..., 0],
        "brier": -brier,
        "accuracy": (right > mass[..., 1:].amax(-1)).double(),
        "wrong": wrong,
    }


def ranks(y: Float[Tensor, "S B"]) -> Float[Tensor, "S B"]:
    """Ranks along the first axis; ties get their mean rank."""
    return (y[:, None] > y[None]).double().sum(1) + 0.5 * (y[:, None] == y[None]).double().sum(1)


def correlation(x: Float[Tensor, "S B"], y: Float[Tensor, "S B"]) -> Float[Tensor, "B"]:
    """Pearson's correlation along the first axis; 0 where one side does not move."""
    a, b = x - x.mean(0), y - y.mean(0)
    size = (a.square().sum(0) * b.square().sum(0)).sqrt()
    return torch.where(size > 1e-12, (a * b).sum(0) / size.clamp(min=1e-12), torch.zeros_like(size))


@Claim(
    "A question's score follows scale less and less along the chain from the log-probability of "
    "the right answer to what the wrong choices have a part in.",
    arms={"study": ("continuous_metrics", {})},
    worlds=("table",),
    on={"table": {"testbed": "bandit", "prompts": 64}},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> float:
    """Mean Spearman correlation with log data of log p(right) minus that of the Brier score."""
    found = {x["metric"]: x["spearman"] for x in arms["study"]}
    return float(found["log_p"] - found["brier"])
