"""The four-factor table: which of data, algorithm, reward-model size and prompts matters most?

The paper fine-tunes one model in many ways and finds an order. Better preference data moves the
result most, then PPO rather than DPO, then a larger reward model (much for mathematics, hardly
elsewhere), then more unlabeled prompts for PPO. This file makes the same table of a world, run by
run at equal compute, and takes main effects from it.

    data        clean: Bradley–Terry labels on gold; noisy: a share `flips` of these is turned round
    algorithm   DPO on the pairs; PPO against a reward model fitted on the same pairs
    size        a reward model that sees the first `small` features, or all of them
    prompts     only those that have pairs (the first half); or PPO on all, which needs no labels

Both algorithms get the same reference, learning rate and β's of the recipes `dpo` and `ppo`, and
equal compute: every step makes two updates on as many completions, `group` a prompt for PPO and as
many in pairs for DPO. PPO here is the clipped objective with the KL in the reward and leave-one-out
advantages for a critic, since completions are one decision. What a cell is worth is its best
checkpoint by exact gold, over the prompts with pairs; `others` is the same over the prompts
without. Beside it stand gold at the end of the run and KL, since a table of best checkpoints hides
which arm falls.

Traps avoided: PPO pays no penalty for a missing end of text (−10 in the released configuration),
which at this scale would drown everything; completions are sampled and scored at the same
temperature; pairs differ in their labels alone.

Here: the order is another than the paper's. PPO rather than DPO moves the best checkpoint by as
much as clean data does or more, and PPO falls far below DPO by the end of the run. A reward model
of eight features averages most of the noise of 400 labels away and says something of completions
that no pair holds; a table trained by DPO says nothing of them (`assay study four_factors --world
table --world.testbed bandit`). What it cannot show: what a table learns of one prompt says nothing
of another. So extra prompts are all or nothing on `others`, and on the prompts with pairs they only
spread the same compute thinner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Carry, Claim, InputError, Loop, Pairs, Paper, Samples, Task, World
from assay.formulas.divergence import k1
from assay.formulas.pairwise import dpo
from assay.loops import clipped_surrogate, log_ratios, online, paired, record_kl
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import LinearModel, LinearReward, maximum_likelihood
from assay.rewards.simulated_labels import labeled

paper = Paper(
    "Unpacking DPO and PPO: Disentangling Best Practices for Learning from Preference Feedback",
    "Ivison et al.",
    2024,
    "arXiv:2406.09279",
)
reduces = {}


def study(
    world: World,
    *,
    set_size: int = 400,
    flips: float = 0.3,
    small: int = 4,
    group: int = 32,
    dpo_beta: float = 0.1,
    ppo_beta: float = 0.05,
    epsilon: float = 0.2,
    look: int = 5,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each cell, then the main effects at the best checkpoint and at the end.

    Args:
        set_size: Pairs.
        flips: Share of the noisy labels that is wrong.
        small: Features that the small reward model sees.
        group: Completions a prompt and step.
        dpo_beta: β of DPO.
        ppo_beta: Weight of the KL penalty in PPO's reward.
        epsilon: PPO's ratio is clipped to [1 − epsilon, 1 + epsilon].
        look: Steps between two readings.
    """
    policy = world.task.reference
    features = features_of(world)
    if (
        not isinstance(policy, TablePolicy)
        or policy.length != 1
        or world.gold is None
        or features is None
    ):
        raise InputError(
            "this study needs exact gold and reward models with features; use --world table "
            "--world.testbed bandit --world.mode shared"
        )
    if not 0 < small < features.shape[-1]:
        raise InputError(
            f"--small is {small}; the large reward model sees {features.shape[-1]} features, the "
            f"small one sees 1 to {features.shape[-1] - 1}"
        )
    gold, prompts = world.gold, world.task.prompts
    every = policy.encode(prompts.text(), [list(policy.words.tokens)] * len(prompts))
    worth, half = gold(every)[0].double(), len(prompts) // 2
    loop = replace(
        world.loop or Loop(),
        batch_size=min(len(prompts), (world.loop or Loop()).batch_size),
        num_generations=group,
        epochs=2,
    )
    cells: dict[tuple[str, str], dict[str, float]] = {}
    for data, noise in (("clean", 0.0), ("noisy", flips)):
        pairs = labeled(
            policy,
            prompts[:half],
            set_size,
            score=lambda x: gold(x)[0],
            noise=noise,
            rng=world.task.rng("labels"),
        )
        models = {
            size: fitted_model(pairs, features, width, policy)
            for size, width in (("large", 0), ("small", small))
        }
        arms: dict[str, Iterator[Any]] = {
            "dpo": by_dpo(world.task.replaced(carry=Carry(), pairs=pairs), loop, dpo_beta)
        }
        for size, rows in (("large", half), ("small", half), ("large", len(prompts))):
            task = world.task.replaced(carry=Carry(), prompts=prompts[:rows], rewards=models[size])
            arms[f"ppo, {size} reward model" + (", all prompts" if rows > half else "")] = by_ppo(
                task, loop, ppo_beta, epsilon
            )
        for arm, steps in arms.items():
            cells[data, arm] = followed(steps, policy, worth, half, look)
            yield {"data": data, "arm": arm, **cells[data, arm]}
    for at in ("best", "end"):

        def cell(data: str, arm: str, at: str = at) -> float:
            return cells[data, arm][at]

        both, main = ("clean", "noisy"), "ppo, large reward model"
        yield {
            "effects": at,
            "data": sum(cell("clean", a) - cell("noisy", a) for a in ("dpo", main)) / 2,
            "algorithm": sum(cell(d, main) - cell(d, "dpo") for d in both) / 2,
            "size": sum(cell(d, main) - cell(d, "ppo, small reward model") for d in both) / 2,
            "prompts": sum(cell(d, main + ", all prompts") - cell(d, main) for d in both) / 2,
        }


def features_of(world: World) -> Float[Tensor, "R V D"] | None:
    """What the world's own reward models see of a completion; None without features."""
    found: list[Any] = []

    def by(model: Any, pairs: Pairs, _: Loop) -> Any:
        found.append(getattr(model, "features", None))
        return model.freeze(tuple(f"judge{m}" for m in range(model.members)))

    if world.refit is not None:
        world.refit(by)
    return found[0] if found else None


def fitted_model(
    pairs: Pairs, features: Float[Tensor, "R V D"], width: int, policy: TablePolicy
) -> LinearReward:
    """Fit a linear reward model of the first `width` features (0: all); standardise it under π₀."""
    kept = (
        features
        if width == 0
        else torch.where(torch.arange(features.shape[-1]) < width, features, 0.0)
    )
    model = maximum_likelihood(LinearModel(1, vocabulary=features.shape[1], features=kept), pairs)
    return model.freeze(("model",)).standardised(policy.logits.softmax(-1), policy.length)


def by_dpo(task: Task, loop: Loop, beta: float) -> Iterator[Any]:
    """DPO, with as many completions a step as PPO has."""

    def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        return dpo(*log_ratios(logp, reference), beta=beta, p=rows.p)

    yield from paired(
        task,
        replace(loop, batch_size=loop.batch_size * loop.num_generations // 2),
        data=task.pairs,
        loss=loss,
        beta=beta,
    )


def by_ppo(task: Task, loop: Loop, beta: float, epsilon: float) -> Iterator[Any]:
    """PPO's clipped loss on leave-one-out advantages, with the KL penalty in the reward."""

    def score(x: Samples) -> Tensor:
        reference = task.reference.logp(x)
        record_kl(x.logp, reference, x.mask)
        return task.rewards(x)[0] - beta * k1(x.logp, reference).sum(-1)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon, high=epsilon)

    yield from online(task, loop, score=score, loss=loss)


def followed(
    steps: Iterator[Any], reference: TablePolicy, worth: Float[Tensor, "R V"], half: int, look: int
) -> dict[str, float]:
    """Exact gold and KL on the way.

    Returns:
        The best reading, the last one, and the best over the prompts without pairs.
    """
    found = [read(reference, reference, worth, half)]
    for t, step in enumerate(steps, 1):
        if t % look == 0:
            found.append(read(step.policy, reference, worth, half))
    best = max(range(len(found)), key=lambda i: found[i]["gold"])
    return {
        "best": found[best]["gold"],
        "kl_at_best": found[best]["kl"],
        "end": found[-1]["gold"],
        "kl_at_end": found[-1]["kl"],
        "others": max(f["others"] for f in found),
    }


@torch.no_grad()
def read(
    policy: TablePolicy, reference: TablePolicy, worth: Float[Tensor, "R V"], half: int
) -> dict[str, float]:
    """Mean gold over the prompts with pairs and over the others, and the mean KL of the former."""
    log_p, log_q = (x.logits.double().log_softmax(-1) for x in (policy, reference))
    gold = (log_p.exp() * worth).sum(-1)
    return {
        "gold": float(gold[:half].mean()),
        "others": float(gold[half:].mean()),
        "kl": float((log_p.exp() * (log_p - log_q)).sum(-1)[:half].mean()),
    }


@Claim(
    "Clean rather than noisy preference data moves gold by more than PPO rather than DPO does.",
    arms={"study": ("four_factors", {})},
    worlds=("table",),
    on={"table": {"testbed": "bandit"}},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> float:
    """Main effect of the data minus the size of the algorithm's, in gold at each run's best
    checkpoint.
    """
    line = next(x for x in arms["study"] if x.get("effects") == "best")
    return float(line["data"] - abs(line["algorithm"]))
