"""The four-factor table: which of data, algorithm, reward model and prompts matters most?

The paper fine-tunes one model in many ways and finds an order. Better preference data moves the
result most, then PPO rather than DPO, then a larger reward model (much for mathematics, hardly
elsewhere), then more unlabeled prompts for PPO. This file makes the same table of a world: the
algorithm's effect is a mean over both data, those of later factors are on the better data.

    data            better: the best of `best` completions against another one, labels by
                    Bradley–Terry on gold; worse: a `fewer`-th as many pairs of two plain
                    completions, a share `flips` of the labels turned. Each of the three is a cell
                    of its own, too: own source, noisy labels, fewer pairs
    algorithm       the recipe dpo on the pairs; the recipe ppo, its reward model fitted on them
    reward model    the world's own size, or one of width `small` and one layer
    prompts         those that have pairs (the first half); or PPO on all of them
    nothing         dpo and ppo again, at other random addresses: a factor that changes nothing

Completions have many decisions, and PPO has its ratio, its critic and its KL in the reward. Every
run starts from the same reference and makes as many updates of as many completions. What differs is
what the algorithms are: DPO samples and scores nothing, and each has its own learning rate and β.
What a run is worth is gold on held-out prompts at its end; of several `runs` the table gives the
mean with its 95 % interval.

    data = mean over algorithms of better − worse      algorithm = mean over data of ppo − dpo
    reward model = large − small                       prompts = all − those with pairs
    nothing = mean over algorithms of |again − first|

Traps avoided: PPO pays no penalty for a missing end of text (−10 in the released configuration),
which at this scale would drown everything; completions are sampled and scored at the same
temperature. A trap that stays: how much a factor moves depends on how far it is varied, here by
`best`, `fewer`, `flips` and `small`. Where an algorithm runs far on bad labels, data and algorithm
are one interaction: `data, dpo` and `data, ppo` show it. So worse data choose their own rate and β,
as somebody who has them would: with the better data's DPO ends 1.5 below the reference, with its
own .13 above (seed 0), and the order of the factors turns over. All runs make as many updates, so
that DPO sees 100 pairs fifteen times.

Here: the world is one of small language models with a written gold, and its reward models are small
Llamas; "larger" is a few thousand weights, not 13 to 70 billion. On 12 seeds data moves gold .52
[.22, .81] more than the algorithm, and the algorithm .38 [.12, .63] *less* than the reward model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from assay.core import Carry, Claim, InputError, Loop, Pairs, Paper, Reward, Task, World
from assay.engine.parallel import COUNTED, meter
from assay.loops.factors import CELLS, CLAIMED, Cell, Data, effects
from assay.registry import catalogue
from assay.rewards.best_pairs import best_against_one
from assay.rewards.ensemble import Members
from assay.rewards.fit import bradley_terry_fitted
from assay.stats.intervals import bounds

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
    best: int = 4,
    fewer: int = 4,
    flips: float = 0.3,
    small: int = 8,
    dpo_beta: float = 0.1,
    ppo_beta: float = 0.05,
    dpo_rate: float = 7e-4,
    ppo_rate: float = 7e-4,
    steps: int = 24,
    batch: int = 16,
    group: int = 4,
    runs: int = 1,
    only: str = "",
    look: int = 8,
) -> Iterator[dict[str, Any]]:
    """Yield a line for each cell, what it spent, and what each factor moves.

    Args:
        set_size: Pairs of the better data.
        best: Completions that the better one of a pair is chosen from.
        fewer: How many times fewer pairs the worse data have.
        flips: Share of the noisy labels that is wrong.
        small: Width of the small reward model, which has one layer.
        dpo_beta: β of DPO.
        ppo_beta: Weight of the KL penalty in PPO's reward.
        dpo_rate: Learning rate of DPO.
        ppo_rate: Learning rate of PPO.
        steps: Steps of a run; each makes two updates.
        batch: Prompts of a step of PPO.
        group: Completions of each of them. DPO is given as many completions, in pairs.
        runs: Runs of each cell, each with its own labels, reward model and addresses.
        only: One cell by name, without the factors; empty for all.
        look: Completions of each held-out prompt that are read.
    """
    if only and only not in CELLS:
        raise InputError(f"--only is '{only}'; it is empty or one of {'; '.join(CELLS)}")
    if min(runs, fewer, best, look) < 1 or set_size < fewer:
        raise InputError(
            "--runs, --fewer, --best and --look must be at least 1, and --set-size at least --fewer"
        )
    width = _width(world)
    if not 0 < small < width:
        raise InputError(
            f"--small is {small}; the world's reward models have width {width}, the small one 1 to "
            f"{width - 1}"
        )
    loop = Loop(max_steps=steps, batch_size=batch, num_generations=group, epochs=2)
    how = {"dpo": (dpo_beta, dpo_rate), "ppo": (ppo_beta, ppo_rate)}
    start = [_read(world, world.task.reference, run, look)["gold"] for run in range(runs)]
    gold = dict[str, list[float]]()
    for name in [only] if only else CELLS:
        cell, counts = CELLS[name], dict.fromkeys(COUNTED, 0)
        size = set_size if cell.many else set_size // fewer
        data = Data(size, best if cell.source else 1, 0.0 if cell.clean else flips)
        read, seconds = [], 0.0
        for run in range(runs):
            task, began = _task(world, cell, run, data, small), time.perf_counter()
            with meter.charging(counts):
                policy = _trained(task, cell.algorithm, loop, *how[cell.algorithm])
            seconds += time.perf_counter() - began
            read.append(_read(world, policy, run, look))
        gold[name] = [r["gold"] for r in read]
        gained = [g - s for g, s in zip(gold[name], start, strict=True)]
        yield {
            "cell": name,
            **_mean("gold", gold[name]),
            **_mean("gained", gained),
            **_mean("kl", [r["kl"] for r in read]),
        }
        spent = {**_spent(counts), "labels": size * runs, "seconds": seconds}
        yield {"kind": "spent", "arm": name, **spent}
    if not only:
        each = [effects({k: v[r] for k, v in gold.items()}) for r in range(runs)]
        for factor in each[0]:
            yield {"factor": factor, **_mean("moves", [e[factor] for e in each])}


def _mean(name: str, values: list[float]) -> dict[str, Any]:
    """A mean and the ends of its 95 % interval, None of one run."""
    mean, low, high = bounds(values)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _spent(counts: dict[str, int]) -> dict[str, int]:
    """What a cell's training spent; its labels are its pairs."""
    return {k: v for k, v in counts.items() if k != "labels"}


def _width(world: World) -> int:
    """Width of the world's own reward models.

    Raises:
        InputError: The world has no gold, or its reward models are no small Llamas.
    """
    found: list[int] = []

    def by(model: Any, pairs: Pairs, loop: Loop) -> Reward:
        if not isinstance(model, Members):
            raise InputError("this study needs reward models of two sizes; use --world grammar")
        found.append(model.config.width)
        return model.freeze([f"judge{m}" for m in range(model.members)])

    if world.gold is None or world.refit is None:
        raise InputError("this study needs gold and reward models; use --world grammar")
    with meter.lifted():
        world.refit(by)
    return found[0]


def _task(world: World, cell: Cell, run: int, data: Data, small: int) -> Task:
    """A cell's task: its pairs, and the reward model that is fitted on them."""
    task, gold, refit = world.task, world.gold, world.refit
    assert gold is not None and refit is not None
    half = task.prompts[: len(task.prompts) // 2]
    rng = task.rng("run", run)
    with meter.lifted():
        pairs = best_against_one(
            task.reference,
            half,
            data.size,
            best=data.best,
            score=lambda x: gold(x)[0],
            noise=data.noise,
            rng=rng("labels"),
        )

    def by(model: Any, _: Pairs, loop: Loop) -> Reward:
        config = model.config
        if not cell.large:
            config = replace(config, width=small, layers=1, heads=1, kv_heads=1, inner=2 * small)
        fresh = Members(config, 1, rng("reward model"))
        return bradley_terry_fitted(
            fresh, pairs, smoothing=0.0, centre=0.01, bootstrap=False, loop=loop
        )

    parts: dict[str, Any] = {"pairs": pairs}
    if cell.algorithm == "ppo":
        with meter.lifted():
            parts["rewards"] = refit(by)
    return task.replaced(
        carry=Carry(),
        rng=rng("again" if cell.again else "train"),
        prompts=task.prompts if cell.every else half,
        **parts,
    )


def _trained(task: Task, algorithm: str, loop: Loop, beta: float, rate: float) -> Any:
    """The last policy of the recipe, at two updates a step on as many completions."""
    loop = replace(loop, learning_rate=rate)
    if algorithm == "dpo":
        loop = replace(loop, batch_size=loop.batch_size * loop.num_generations // 2)
    recipe = catalogue.load(catalogue.find(algorithm)).recipe
    last = task.reference
    for step in recipe(task, beta=beta, loop=loop):
        last = step.policy
    return last


@torch.no_grad()
def _read(world: World, policy: Any, run: int, look: int) -> dict[str, float]:
    """Gold and KL on the held-out prompts, at addresses that all cells share."""
    assert world.gold is not None
    with meter.lifted():
        x = policy.sample(world.held_out, look, world.task.rng("read", run))
        kl = policy.kl(world.task.reference, x)
        return {"gold": float(world.gold(x)[0].mean()), "kl": float(kl.mean())}


def gold_of(lines: list[dict[str, Any]], what: str = "gold") -> float:
    """Gold of the one cell that was run, or what it gained over the reference."""
    return float(next(x[what] for x in lines if "cell" in x))


SMALL_WORLD = {
    "pairs": 64,
    "members": 1,
    "demos": 1500,
    "max_tokens": 20,
    "width": 48,
    "layers": 1,
    "sft_steps": 150,
    "reward_width": 32,
    "reward_layers": 1,
    "reward_steps": 100,
}


@Claim(
    "Preference data moves gold more than the algorithm, the algorithm more than the size of the "
    "reward model, and that more than unlabeled prompts.",
    arms={name: ("four_factors", {"only": name}) for name in CLAIMED},
    worlds=("grammar",),
    on={"grammar": SMALL_WORLD},
    least=0.0,
    seeds="500..511",
    tuned={
        "dpo": {"dpo_beta": (0.2, 0.8), "dpo_rate": (2e-4, 7e-4, 2e-3)},
        "ppo": {"ppo_beta": (0.2, 0.8), "ppo_rate": (2e-4, 7e-4, 2e-3)},
        # a policy that runs far on bad labels ends below the reference at the better data's rate
        "dpo, worse data": {"dpo_beta": (0.2, 0.8), "dpo_rate": (7e-5, 2e-4, 7e-4)},
        "ppo, worse data": {"ppo_beta": (0.2, 0.8), "ppo_rate": (2e-4, 7e-4, 2e-3)},
        **{n: c.algorithm for n, c in CLAIMED.items() if c.many and n != c.algorithm},
    },
    by=gold_of,
    control=("data over nothing",),
    broken="a factor that exchanges random addresses alone",
    premises=("dpo gains", "ppo gains"),
    differs={
        "generated": "DPO samples nothing; the runs of PPO sample the same",
        "scored": "DPO scores nothing; the runs of PPO score the same",
        "labels": "the worse data are a quarter of the pairs",
        "updates": "PPO's critic is updated as often as its policy",
        "seconds": "PPO samples, DPO does not",
    },
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Each factor's effect on gold less that of the factor below it in the paper's order. The claim
    is of an order, so δ is 0. Premises: on the better data both algorithms gain over the reference.
    """
    by = effects({name: gold_of(arms[name]) for name in CLAIMED})
    return {
        "dpo gains": gold_of(arms["dpo"], "gained"),
        "ppo gains": gold_of(arms["ppo"], "gained"),
        "data over algorithm": by["data"] - by["algorithm"],
        "algorithm over reward model": by["algorithm"] - by["reward model"],
        "reward model over prompts": by["reward model"] - by["prompts"],
        "data over nothing": by["data"] - by["nothing"],
    }
