"""Sums with scratch work: a small Llama trained on worked solutions, and verifiers of every line.

See arithmetic.py for the problems, scratchpad.py for what makes a line formed and right,
verifier.py for the five rewards (outcome, steps, format, short, thinking) and their flaws, and
curriculum.py for the policy's training. Gold is correctness; its further objectives are the share
of right steps, shortness and well-formedness. Demonstrations are right solutions of the task's
prompts. `others` has a weaker and a stronger policy: the reference before it learned mistakes,
early and late in its training.

The pass rate is requested, and then measured on the held-out problems: the fact `pass/reference` at
step 0. The policy first learns right solutions, and then such a share of wrong ones as leaves the
requested rate, given how able it is. Seed 0 (`assay run leave_one_out --world sums --world.task
TASK --world.pass-rate P --max-steps 0`): chain 0.05 gave 0.051, 0.2 gave 0.212, 0.5 gave 0.482 and
0.95 gave 0.931; modular 0.05 gave 0.129 and 0.95 gave 0.952; before the mistakes (`pass/strong`)
they were at 0.978 and 1.0. A countdown is a search that so small a policy does not master: 0.5 gave
0.438, and the rate is at most the 0.729 of before the mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from assay.core import Loop, Rng, Samples, Task, World
from assay.errors import InputError
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.registry.from_config import from_config
from assay.worlds import arithmetic, curriculum
from assay.worlds.arithmetic import TASKS, VOCABULARY, Problem, pose, solve
from assay.worlds.cache import cache_path, cached
from assay.worlds.configuration import (
    arguments,
    check_choice,
    check_range,
    check_share,
)
from assay.worlds.dice import dice
from assay.worlds.verifier import FLAWS, GOLDS, NAMES, Golds, Verifier

NUMBERS = {"chain": (3, 5), "modular": (3, 5), "countdown": (2, 3)}
STEPS = {"chain": 600, "modular": 600, "countdown": 1200}
# Problems that a watch samples from: so many that sampling from them again is as good as posing new
# ones.
POPULATION = 4096
# What the trained policies and the pairs do not depend on: one training serves all verifiers.
OF_THE_VERIFIER = ("flaw", "step_noise", "inverted", "rewards")


@dataclass(frozen=True, kw_only=True)
class SumsConfig:
    """The arguments of world sums.

    Attributes:
        seed: Of the world's own numbers.
        task: chain, modular or countdown.
        pass_rate: Share of right answers that the reference is trained to give.
        flaw: Of the outcome reward: none, format or early.
        step_noise: Share of wrong verdicts of the step rewards.
        inverted: Share of prompts on which the thinking reward prefers wrong steps.
        rewards: Which rewards, in which order, separated by commas.
        least: Fewest numbers of a problem; 0 for the task's own.
        most: Most numbers of a problem; 0 for the task's own.
        bare: Share of demonstrations without scratch work; less where pass_rate leaves no room.
        again: Share of demonstrations whose last line is repeated; less where pass_rate leaves no
            room.
        judged: Share of demonstrations that are right verdicts on solutions, in the form in which
            spark asks for them: 1 or 0 on one, 1 or 2 on two.
        prompts: Problems that recipes see.
        held_out: Problems that no recipe sees.
        pairs: Preference pairs.
        noise: Share of the pairs whose label is flipped.
        taught: Problems that the policy is trained on.
        width: Width of the policy.
        layers: Layers of the policy.
        sft_steps: Steps of the policy's training; 0 for the task's own.
        sft_lr: Learning rate of the training.
    """

    seed: int = 0
    task: str = "chain"
    pass_rate: float = 0.5
    flaw: str = "none"
    step_noise: float = 0.0
    inverted: float = 0.0
    rewards: str = "outcome,steps,format,short,thinking"
    least: int = 0
    most: int = 0
    bare: float = 0.1
    again: float = 0.1
    judged: float = 0.0
    prompts: int = 192
    held_out: int = 64
    pairs: int = 400
    noise: float = 0.1
    taught: int = 6000
    width: int = 64
    layers: int = 2
    sft_steps: int = 0
    sft_lr: float = 3e-3

    def __post_init__(self) -> None:
        check_choice(self, "task", TASKS)
        check_choice(self, "flaw", FLAWS)
        for name in ("pass_rate", "step_noise", "inverted", "bare", "again", "judged", "noise"):
            check_share(self, name)
        for name in ("prompts", "held_out", "pairs", "taught"):
            check_range(self, name, 1)
        top = 4 if self.task == "countdown" else 9
        if not 2 <= self.low <= self.high <= top:
            raise InputError(
                f"--world.least and --world.most are {self.low} and {self.high}; a problem of task "
                f"{self.task} has from 2 to {top} numbers"
            )
        unknown = [n for n in self.names if n not in NAMES]
        if unknown or len(set(self.names)) != len(self.names):
            raise InputError(
                f"--world.rewards is '{self.rewards}'; give some of {','.join(NAMES)}, each once"
            )

    @property
    def low(self) -> int:
        """Fewest numbers of a problem."""
        return self.least or NUMBERS[self.task][0]

    @property
    def high(self) -> int:
        """Most numbers of a problem."""
        return self.most or NUMBERS[self.task][1]

    @property
    def names(self) -> tuple[str, ...]:
        """The rewards' names."""
        return tuple(self.rewards.split(","))

    @property
    def max_tokens(self) -> int:
        """Most tokens of a completion: two lines more than the longest problem needs."""
        return 6 * (self.high + 1) + 4

    @property
    def training(self) -> curriculum.Curriculum:
        """What the policy is trained to be."""
        return curriculum.Curriculum(
            pass_rate=self.pass_rate,
            bare=self.bare,
            again=self.again,
            judged=self.judged,
            steps=self.sft_steps or STEPS[self.task],
            learning_rate=self.sft_lr,
            seed=self.seed,
        )


@from_config(SumsConfig)
def world(config: SumsConfig) -> World:
    """Arithmetic with scratch work, verified line by line."""
    rng = Rng(config.seed)("world sums")
    unique, taught = curriculum.problems(
        config.task,
        config.low,
        config.high,
        n_unique=config.held_out + config.prompts,
        n_total=config.taught,
        n_hidden=config.held_out,
        rng=rng("problems"),
    )
    unseen, seen = unique[: config.held_out], unique[config.held_out :]
    held_out, prompts = (VOCABULARY.prompts([str(p) for p in some]) for some in (unseen, seen))
    width = config.width
    size = Config(len(VOCABULARY), width, config.layers, heads=4, kv_heads=4, inner=2 * width)
    policy = Causal(Llama(size, rng("policy")), VOCABULARY, max_tokens=config.max_tokens)
    gold = Golds(config.max_tokens)

    def build() -> dict[str, Any]:
        def pass_rate() -> float:
            return float(gold(policy.sample(held_out, 16, rng("pass")))[0].mean())

        def correct(x: Samples) -> Tensor:
            return gold(x)[0]

        trained = curriculum.train(policy, taught, pass_rate, correct, config.training, rng)
        pairs = curriculum.ranked_pairs(
            policy, prompts, gold, n=config.pairs, noise=config.noise, rng=rng("pairs")
        )
        return {**trained, "pairs": pairs}

    key = arguments(config, without=OF_THE_VERIFIER)
    built, digest = cached(cache_path("sums", key, __name__), build, VOCABULARY.decode)
    policy.load_state_dict(built["reference"])
    others = {}
    for name in ("weak", "strong"):
        others[name] = policy.copy()
        others[name].load_state_dict(built[name])
        others[name].frozen()
    verifier = Verifier(
        config.names,
        flaw=config.flaw,
        noise=config.step_noise,
        inverted=config.inverted,
        most=config.max_tokens,
        rng=rng("verifier"),
    )
    solved = [
        [solve(arithmetic.read(text), d)]
        for text, d in zip(prompts.text(), dice(config.prompts, rng("demos")), strict=True)
    ]
    task = Task(
        prompts=prompts,
        reference=policy.frozen(),
        rewards=verifier,
        pairs=built["pairs"],
        demos=VOCABULARY.completions(prompts, solved),
        others=others,
        rng=Rng(config.seed)("run"),
    )
    population = _population(config, set(seen), rng("population")) or unseen
    rates = {f"pass/{name}": built[f"pass/{name}"] for name in ("weak", "reference", "strong")}
    return World(
        "sums",
        task,
        held_out=held_out,
        gold=gold,
        golds=GOLDS,
        gold_kind="verifier",
        facts=lambda _: dict(rates),
        loop=Loop(max_steps=60, batch_size=16, num_generations=8, learning_rate=3e-4),
        arguments=arguments(config),
        population=VOCABULARY.prompts([str(p) for p in population]),
        digest=digest,
    )


def _population(config: SumsConfig, seen: set[Problem], rng: Rng) -> list[Problem]:
    """Problems as the world poses them, with repeats, without those that recipes see."""
    posed = (
        pose(config.task, config.low + d.below(config.high - config.low + 1), d)
        for d in dice(POPULATION, rng)
    )
    return [p for p in posed if p not in seen]
