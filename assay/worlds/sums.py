"""Sums with scratch work: a small Llama taught by worked solutions with planted mistakes, and
verifiers of every line.

See arithmetic.py for the problems, scratchpad.py for what makes a line formed and right,
verifier.py for the five rewards (outcome, steps, format, short, thinking) and the flaws that can be
asked for. Gold is correctness; its further objectives are the share of right steps, shortness and
well-formedness. Demonstrations are right solutions of the task's prompts; `others` holds a weaker
and a stronger policy: the reference before it was taught mistakes, early and late in its schooling.

The pass rate is asked for, and then measured on the held-out problems: the fact `pass/reference` at
step 0. The policy is taught right solutions first, and then such a share of wrong ones as leaves
the rate that is wanted, given how able it is. seed 0 (`assay run leave_one_out --world sums
--world.task TASK --world.pass_rate P --max-steps 0`): chain 0.05 gave 0.051, 0.2 gave 0.212, 0.5
gave 0.482 and 0.95 gave 0.931; modular 0.05 gave 0.129 and 0.95 gave 0.952; before the mistakes
(`pass/strong`) they were at 0.978 and 1.0. A countdown is a search that so small a policy does not
master: 0.5 gave 0.438, and 0.729 before the mistakes bounds its rate from above.
"""

from __future__ import annotations

from typing import Any

from assay.core import Loop, Rng, Task, World
from assay.errors import InputError
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.worlds import arithmetic
from assay.worlds import cache as kept
from assay.worlds.arithmetic import TASKS, VOCABULARY, Problem, pose, solve
from assay.worlds.curriculum import dice, posed, preferences, schooled
from assay.worlds.verifier import FLAWS, GOLDS, NAMES, Golds, Verifier

TERMS = {"chain": (3, 5), "modular": (3, 5), "countdown": (2, 3)}
SCHOOLING = {"chain": 600, "modular": 600, "countdown": 1200}
# problems that a watch draws from: so many that drawing from them again is as good as drawing
# afresh
POPULATION = 4096


def world(
    *,
    seed: int = 0,
    task: str = "chain",
    pass_rate: float = 0.5,
    flaw: str = "none",
    step_noise: float = 0.0,
    inverted: float = 0.0,
    rewards: str = ",".join(NAMES),
    least: int = 0,
    most: int = 0,
    bare: float = 0.1,
    again: float = 0.1,
    prompts: int = 192,
    held_out: int = 64,
    pairs: int = 400,
    noise: float = 0.1,
    taught: int = 6000,
    width: int = 64,
    layers: int = 2,
    sft_steps: int = 0,
    sft_lr: float = 3e-3,
) -> World:
    """The world and everything in it is a function of these arguments.

    task: chain, modular or countdown. pass_rate: the share of right answers the policy is taught to
    give. flaw: of the outcome reward: none, format or early. step_noise: share of wrong verdicts of
    the step rewards. inverted: share of prompts on which the thinking reward prefers wrong steps.
    rewards: which, in which order. least, most: numbers in a problem, 0 for the task's own. bare:
    share of lessons that answer without working (less where pass_rate leaves no room); again: share
    whose last line is said again, likewise. prompts, held_out: problems that recipes see, and those
    that none sees. pairs, noise: preferences, and the share of flipped ones. taught: lessons.
    width, layers, sft_steps, sft_lr: the policy and its schooling, 0 steps for the task's own.
    """
    arguments = dict(locals())
    low, high = least or TERMS.get(task, (0, 0))[0], most or TERMS.get(task, (0, 0))[1]
    names = tuple(rewards.split(","))
    _possible(arguments, low, high, names)
    at = Rng(seed)("world sums")
    known, fresh = posed(task, low, high, held_out + prompts, taught, held_out, at("problems"))
    unseen, asked = (
        VOCABULARY.prompts([str(p) for p in some]) for some in (known[:held_out], known[held_out:])
    )
    limit = 6 * (high + 1) + 4  # two lines more than the longest problem wants
    policy = Causal(
        Llama(
            Config(len(VOCABULARY), width, layers, heads=4, kv_heads=4, inner=2 * width),
            at("policy"),
        ),
        VOCABULARY,
        max_tokens=limit,
    )
    gold = Golds(limit)

    def build() -> dict[str, Any]:
        out = schooled(
            policy,
            fresh,
            lambda: float(gold(policy.sample(unseen, 16, at("pass")))[0].mean()),
            pass_rate=pass_rate,
            bare=bare,
            again=again,
            steps=sft_steps or SCHOOLING[task],
            lr=sft_lr,
            seed=seed,
            at=at,
        )
        return {**out, "pairs": preferences(policy, asked, gold, pairs, noise, at("pairs"))}

    made = kept.kept(
        kept.place("sums", _of_the_policy(arguments), __name__), build, VOCABULARY.decode
    )
    policy.load_state_dict(made["reference"])
    others = {}
    for name in ("weak", "strong"):
        others[name] = policy.copy()
        others[name].load_state_dict(made[name])
        others[name].frozen()
    judge = Verifier(
        names, flaw=flaw, noise=step_noise, inverted=inverted, most=limit, rng=at("verifier")
    )
    shown = VOCABULARY.answers(
        asked,
        [
            [solve(arithmetic.read(t), d)]
            for t, d in zip(asked.text(), dice(prompts, at("demos")), strict=True)
        ],
    )
    job = Task(
        prompts=asked,
        reference=policy.frozen(),
        rewards=judge,
        pairs=made["pairs"],
        demos=shown,
        others=others,
        rng=Rng(seed)("run"),
    )
    rest = _population(task, low, high, set(known[held_out:]), at("population"))
    rates = {f"pass/{name}": made[f"pass/{name}"] for name in ("weak", "reference", "strong")}
    return World(
        "sums",
        job,
        held_out=unseen,
        gold=gold,
        golds=GOLDS,
        gold_kind="verifier",
        facts=lambda _: dict(rates),
        loop=Loop(max_steps=60, batch_size=16, num_generations=8, learning_rate=3e-4),
        arguments=arguments,
        population=VOCABULARY.prompts([str(p) for p in rest or known[:held_out]]),
    )


def _population(task: str, low: int, high: int, seen: set[Problem], at: Rng) -> list[Problem]:
    """Problems as the world draws them, each as often as it comes, without those that recipes see."""
    drawn = (pose(task, low + d.below(high - low + 1), d) for d in dice(POPULATION, at))
    return [p for p in drawn if p not in seen]


def _possible(given: dict[str, Any], low: int, high: int, names: tuple[str, ...]) -> None:
    for name, choices in (("task", TASKS), ("flaw", FLAWS)):
        if given[name] not in choices:
            raise InputError(
                f"--world.{name} is '{given[name]}'; it is one of {', '.join(choices)}"
            )
    for name, least, most in (
        ("pass_rate", 0, 1),
        ("step_noise", 0, 1),
        ("inverted", 0, 1),
        ("bare", 0, 1),
        ("again", 0, 1),
        ("noise", 0, 1),
    ):
        if not least <= given[name] <= most:
            raise InputError(f"--world.{name} is {given[name]}; it is a share, from 0 to 1")
    for name in ("prompts", "held_out", "pairs", "taught"):
        if given[name] < 1:
            raise InputError(f"--world.{name} is {given[name]}; it must be at least 1")
    top = 4 if given["task"] == "countdown" else 9
    if not 2 <= low <= high <= top:
        raise InputError(
            f"--world.least and --world.most are {low} and {high}; a {given['task']} has from 2 to "
            f"{top} numbers"
        )
    wrong = [n for n in names if n not in NAMES]
    if wrong or len(set(names)) != len(names):
        raise InputError(
            f"--world.rewards is '{given['rewards']}'; give some of {','.join(NAMES)}, each once"
        )


def _of_the_policy(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the trained policies and the pairs depend on: not the verifiers, so that one schooling
    serves them all.
    """
    return {
        k: v for k, v in arguments.items() if k not in ("flaw", "step_noise", "inverted", "rewards")
    }
