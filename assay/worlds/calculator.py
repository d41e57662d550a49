"""Tool calls: a small Llama that calls a calculator, and verifiers of its calls.

See calls.py for requests, tools and errors. A completion is one call. The rewards are typed (by the
kind of error, `formulas.tool_calls.error_typed_reward`), exact (1 for the right call) and runs (1
unless the tool's message would say that the call failed): the last needs no right answer, only the
tool. Gold is whether the call is right; its further objective is whether it runs. A step of a call
is the tool's name with its bracket, and then each argument (`step_of`).

Demonstrations are calls for the task's prompts, a share `bad` of them with an error; a quarter of
the erroneous ones do not run. The reference learned from such calls of other requests for a while:
`pass/reference` and `runs/reference` say how far it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Rng, Samples, Task, World
from assay.errors import InputError
from assay.formulas.process import step_index
from assay.formulas.tool_calls import error_typed_reward
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.registry.from_config import from_config
from assay.worlds.cache import cache_path, cached
from assay.worlds.calls import VOCABULARY, Verdict, judge, pose, write
from assay.worlds.configuration import arguments, check_range, check_share
from assay.worlds.dice import dice
from assay.worlds.sft import fine_tune

NAMES = ("typed", "exact", "runs")
MAX_TOKENS = 24  # two more than the longest right call
FIELDS = ("readable", "right_tool", "hallucinated", "redundant", "missing", "right_values")


@dataclass(frozen=True, kw_only=True)
class CalculatorConfig:
    """The arguments of world calculator.

    Attributes:
        seed: Of the world's own numbers.
        bad: Share of demonstrations with an error.
        schooled: Share of the calls with an error that the reference learned from.
        rewards: Which rewards, in which order, separated by commas.
        prompts: Requests that recipes see.
        held_out: Requests that no recipe sees.
        taught: Requests that the reference learned from.
        width: Width of the policy.
        layers: Layers of the policy.
        sft_steps: Steps of the reference's training.
        sft_lr: Learning rate of the training.
    """

    seed: int = 0
    bad: float = 0.3
    schooled: float = 0.3
    rewards: str = "typed,exact,runs"
    prompts: int = 400
    held_out: int = 128
    taught: int = 4000
    width: int = 48
    layers: int = 2
    sft_steps: int = 150
    sft_lr: float = 5e-3

    def __post_init__(self) -> None:
        for name in ("bad", "schooled"):
            check_share(self, name)
        for name in ("prompts", "held_out", "taught", "sft_steps"):
            check_range(self, name, 1)
        unknown = [n for n in self.names if n not in NAMES]
        if unknown or len(set(self.names)) != len(self.names):
            raise InputError(
                f"--world.rewards is '{self.rewards}'; give some of {','.join(NAMES)}, each once"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The rewards' names."""
        return tuple(self.rewards.split(","))


def verdicts(x: Samples) -> list[list[Verdict]]:
    """What is wrong with each completion as the call for its prompt."""
    ended = x.ended.tolist()
    return [
        [judge(request, text, done) for text, done in zip(texts, over, strict=True)]
        for request, texts, over in zip(x.prompts.text(), x.text(), ended, strict=True)
    ]


class Verifier:
    """A Reward of some of typed, exact and runs.

    Args:
        names: The members, in order.
    """

    partial = False

    def __init__(self, names: Sequence[str] = NAMES):
        self.names = tuple(names)

    def only(self, members: Sequence[int]) -> Verifier:
        """A Reward of these members, in this order."""
        return Verifier([self.names[m] for m in members])

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        found, like = verdicts(samples), samples.logp

        def flags(name: str) -> Tensor:
            values = [[getattr(v, name) for v in row] for row in found]
            return torch.tensor(values, device=like.device).reshape(samples.present.shape)

        def each(name: str) -> Tensor:
            if name == "typed":
                return error_typed_reward(*(flags(field) for field in FIELDS)).to(like)
            return flags("right" if name == "exact" else "runs").to(like)

        return torch.stack([each(name) for name in self.names])

    def step_of(self, samples: Samples) -> Int[Tensor, "B N T"]:
        """Which step each token belongs to: the tool's name, then each argument; −1 outside."""
        closing = torch.tensor(
            [*(VOCABULARY.ids[w] for w in ("(", ",")), VOCABULARY.eos], device=samples.action.device
        )
        here = samples.mask | samples.given
        return step_index(torch.isin(samples.action, closing), here)


@from_config(CalculatorConfig)
def world(config: CalculatorConfig) -> World:
    """Calls of a calculator, verified by the kind of their errors."""
    rng = Rng(config.seed)("world calculator")
    n = config.prompts + config.held_out
    posed = [pose(d) for d in dice(8 * n + config.taught, rng("requests"))]
    unique = list(dict.fromkeys(posed))[:n]
    unseen, seen = unique[: config.held_out], unique[config.held_out :]
    if len(unique) < n:
        raise InputError(
            f"--world.prompts and --world.held-out ask for {n} distinct requests, and there were "
            f"{len(unique)}; ask for fewer"
        )
    held_out, prompts = VOCABULARY.prompts(unseen), VOCABULARY.prompts(seen)
    hidden, width = set(unseen), config.width
    size = Config(len(VOCABULARY), width, config.layers, heads=4, kv_heads=4, inner=2 * width)
    policy = Causal(Llama(size, rng("policy")), VOCABULARY, max_tokens=MAX_TOKENS)
    gold = Verifier(("exact", "runs"))

    def called(requests: list[str], bad: float, at: Rng) -> Samples:
        throws = dice(len(requests), at)
        texts = [[write(r, d, bad=bad)] for r, d in zip(requests, throws, strict=True)]
        return VOCABULARY.completions(VOCABULARY.prompts(requests), texts)

    def build() -> dict[str, Any]:
        taught = [r for r in posed if r not in hidden][-config.taught :]
        loop = Loop(
            max_steps=config.sft_steps,
            batch_size=64,
            learning_rate=config.sft_lr,
            warmup_steps=20,
            seed=config.seed,
        )
        fine_tune(policy, called(taught, config.schooled, rng("taught")), loop, rng("imitate"))
        means = gold(policy.sample(held_out, 8, rng("pass"))).mean((1, 2)).tolist()
        return {"reference": policy.state_dict(), "pass": means[0], "runs": means[1]}

    key = arguments(config, without=("rewards", "bad"))
    built, digest = cached(cache_path("calculator", key, __name__), build, VOCABULARY.decode)
    policy.load_state_dict(built["reference"])
    rates = {"pass/reference": built["pass"], "runs/reference": built["runs"]}
    task = Task(
        prompts=prompts,
        reference=policy.frozen(),
        rewards=Verifier(config.names),
        demos=called(seen, config.bad, rng("demos")),
        rng=Rng(config.seed)("run"),
    )
    fresh = [r for r in posed if r not in set(seen)] or unseen
    return World(
        "calculator",
        task,
        held_out=held_out,
        gold=gold,
        golds=("right", "runs"),
        gold_kind="verifier",
        facts=lambda _: dict(rates),
        loop=Loop(max_steps=60, batch_size=16, num_generations=8, learning_rate=1e-3),
        arguments=arguments(config),
        population=VOCABULARY.prompts(fresh),
        digest=digest,
    )
