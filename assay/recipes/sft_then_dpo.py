"""Does a smaller learning rate in supervised fine-tuning leave a better start for DPO?

The paper reads SFT as implicit-reward learning whose KL term is a constant (`implicit_reward`), so
that nothing holds the policy near where it began, and proposes a learning rate several times
smaller. Rate and number of updates go together, so here the largest of `rates` trains for
`sft_steps`, and every other one until it has the *same* loss on the demonstrations that are
imitated (`most` steps, at most). The same DPO follows, from the same pairs and with each policy as
its own reference.

Lines of kind "start" have a rate's steps, its loss on what it imitated and on held-out
demonstrations in nats a token, gold, and the KL from where SFT began; "run" gold and KL after DPO
with the readings on the way; "spent" what both cost. With one rate and another `divergence` the
study compares losses at equal steps instead.

Traps. Without equal loss a smaller rate is fewer epochs. The loss is that on what is imitated: the
held-out one falls and rises again, and a rate that stops on its way down to where another ended on
its way up has learned a tenth of it (seed 0 of the table: 4 steps against 40). Steps differ by
design, and KL says whether they led elsewhere. The pairs are the base's own completions, for all
starts alike.

Here: at equal loss the smallest of three rates lies .12 [.09, .15] nats nearer to the base than the
largest, and DPO from it ends .007 [−.028, .043] higher in gold (20 seeds of the table). The loss of
a table is convex and has one optimum; the paper's models have many.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from assay.core import Carry, Claim, InputError, Loop, Missing, Paper, World
from assay.engine.parallel import COUNTED, meter
from assay.loops import imitated
from assay.loops.language_models import nats_per_token
from assay.loops.policy_sizes import Look, curve, places
from assay.registry import catalogue

paper = Paper(
    "Implicit Reward as the Bridge: A Unified View of SFT and DPO Connections",
    "Wang et al.",
    2025,
    "arXiv:2507.00018",
)
reduces = {}
TEST = 5  # one in so many demonstrations is held out


def study(
    world: World,
    *,
    rates: tuple[float, ...] = (0.05,),
    divergence: str = "linear",
    beta: float = 0.1,
    misplaced: bool = False,
    imitate: str = "demos",
    sft_steps: int = 40,
    most: int = 2000,
    every: int = 2,
    batch: int = 32,
    dpo_beta: float = 0.1,
    dpo_rate: float = 0.05,
    dpo_steps: int = 60,
    look: int = 16,
    reads: int = 6,
) -> Iterator[dict[str, Any]]:
    """Yield three lines for each rate: after SFT, after DPO, and what they spent.

    Args:
        rates: Learning rates of SFT, as many as are compared; the largest sets the loss.
        divergence: Loss of SFT, see `implicit_reward`; linear is SFT itself.
        beta: Scale of its implicit reward.
        misplaced: Compare with the reference's log-probability of other demonstrations.
        imitate: demos, or pairs for the chosen completions of pairs.
        sft_steps: Updates of the largest rate.
        most: Updates of any other rate, at most.
        every: Updates between looks at the loss.
        batch: Demonstrations, and pairs, an update.
        dpo_beta: β of DPO.
        dpo_rate: Its learning rate.
        dpo_steps: Its updates.
        look: Completions of each held-out prompt that are read.
        reads: Readings of DPO.
    """
    task = world.task
    if world.gold is None:
        raise Missing(f"world {world.name} has no gold, by which runs are read here")
    if not rates or min(sft_steps, every, dpo_steps, look, reads) < 1 or most < sft_steps:
        raise InputError(
            f"--rates is {list(rates)}, --sft-steps {sft_steps}, --most {most}, --every {every}, "
            f"--dpo-steps {dpo_steps}, --look {look} and --reads {reads}; each is at least 1, and "
            "--most is at least --sft-steps"
        )
    data, pairs = imitated(task, imitate), task.pairs
    if len(data) < 2 * TEST:
        raise InputError(f"there are {len(data)} demonstrations; {2 * TEST} are the least here")
    test, taught = data[: len(data) // TEST], data[len(data) // TEST :]
    rng, base = task.rng("sft then dpo"), task.reference
    sampled = Look(world.held_out, world.gold, look, rng("read"))

    def read(policy: Any, reference: Any, step: int) -> dict[str, Any]:
        exact = world.facts(policy) if world.facts else {}
        own = {k: v for k, v in exact.items() if k in ("gold", "kl")}
        return {**sampled(policy, base, step), **own}

    sft, dpo = (catalogue.load(catalogue.find(n)).recipe for n in ("implicit_reward", "dpo"))
    target = -float("inf")
    for rate in sorted(set(rates), reverse=True):
        counts, began = dict.fromkeys(COUNTED, 0), time.perf_counter()
        first = target == -float("inf")
        with meter.charging(counts):
            limit = sft_steps if first else most
            loop = Loop(max_steps=limit, batch_size=batch, learning_rate=rate)
            mine = task.replaced(demos=taught, carry=Carry(), rng=rng("sft"))
            loss = {"divergence": divergence, "beta": beta, "misplaced": misplaced}
            policy, steps, reached = base, 0, float("inf")
            for step in sft(mine, imitate="demos", loop=loop, **loss):
                policy, steps = step.policy, steps + 1
                if steps % every == 0 or steps == limit:
                    with meter.lifted():
                        reached = nats_per_token(policy, taught)
                    if reached <= target:
                        break
            start: Any = policy.copy()
            start.requires_grad_(False)
            target = reached if first else target
            with meter.lifted():
                held_out = nats_per_token(start, test)
            yield {
                "kind": "start",
                "rate": rate,
                "steps": steps,
                "loss": reached,
                "held_out": held_out,
                **{k: v for k, v in read(start, base, 0).items() if k in ("gold", "kl")},
            }
            loop = Loop(max_steps=dpo_steps, batch_size=batch, learning_rate=dpo_rate)
            mine = task.replaced(reference=start, pairs=pairs, carry=Carry(), rng=rng("dpo"))
            run = dpo(mine, beta=dpo_beta, loop=loop)
            at = places(dpo_steps, reads)
            _, readings = curve(run, start, read, at)  # type: ignore[arg-type]
        last = readings[-1]
        yield {
            "kind": "run",
            "rate": rate,
            "readings": readings,
            "gold": last["gold"],
            "kl": last["kl"],
        }
        seconds = time.perf_counter() - began
        arm = f"rate {rate:g}" if len(set(rates)) > 1 else ""
        yield {"kind": "spent", "arm": arm, **counts, "labels": len(pairs), "seconds": seconds}


def of_rates(lines: list[dict[str, Any]], kind: str, what: str) -> list[float]:
    """A number of the largest rate, …, of the smallest one."""
    found = sorted((x for x in lines if x["kind"] == kind), key=lambda x: -x["rate"])
    return [float(x[what]) for x in found]


_RATES = {"rates": (0.2, 0.06, 0.02)}


@Claim(
    "Of policies that SFT brought to the same loss at three learning rates, the smallest "
    "rate's lies nearer to where SFT began than the largest one's, and DPO from it ends higher in "
    "gold, by more than DPO from coins does.",
    arms={
        "rates": ("sft_then_dpo", _RATES),
        "coins": ("sft_then_dpo", {**_RATES, "world.noise": 0.5}),
    },
    worlds=("table",),
    # a twentieth of gold's deviation under the reference, and of the KL of SFT on seeds 0 to 4
    least={"equal loss": -0.02, "gold after DPO": 0.05, "nearer": 0.02},
    seeds="100..119",
    control=("over DPO on coins",),
    broken="DPO from pairs whose labels are coins",
    premises=("equal loss",),
    differs={
        "updates": "a smaller rate takes more of them to the same loss",
        "seconds": "a smaller rate takes more updates",
    },
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Minus the difference in loss of the smallest and the largest rate, in nats a token;
    gold after DPO of the smallest minus the largest, and how much more that is than from coins; KL
    from the base after SFT of the largest minus the smallest, in nats.
    """
    large, *_, small = of_rates(arms["rates"], "start", "loss")
    kl, gold = (of_rates(arms["rates"], k, w) for k, w in (("start", "kl"), ("run", "gold")))
    coins = of_rates(arms["coins"], "run", "gold")
    gain = gold[-1] - gold[0]
    return {
        "equal loss": -abs(large - small),
        "gold after DPO": gain,
        "nearer": kl[0] - kl[-1],
        "over DPO on coins": gain - (coins[-1] - coins[0]),
    }
