"""Routing: a small Llama that asks frozen solvers of different skill and price, and then answers.

A question is a kind and four digits, "odd 4 0 7 1 :", and its answer one digit that nobody can
compute: a router that asks no one guesses a tenth. A completion names solvers, each of which writes
its reply into the context at once, and ends with an answer, "small 7 expert 2 answer 2". A reply is
no decision of the router. A solver is a frozen policy over the ten digits: it is right by its skill
in the kind of question, and else says any other digit; asked again, it draws again. So replies that
agree are likelier right, and asking more than once is worth something.

The rewards are score (1 for the right answer in the right form), format (1 for that form) and
cost (the sum of the prices of what was asked; higher is worse). Gold is the score; its further
number is the cost. Facts are exact: the best single solver (`one/single`), and the best solver of
each kind (`one/kind`), which is the most that one question to one solver can give.

The reference learned from calls of one to three solvers at random, answered by the last reply.
`deaf` gives replies of another question's: the router hears nothing, and its calls cost as much.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Prompts, Rng, Samples, Task, World
from assay.errors import InputError
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.replying import Calling, Replying
from assay.registry.from_config import from_config
from assay.worlds.cache import cache_path, cached
from assay.worlds.configuration import arguments, check_range
from assay.worlds.dice import dice
from assay.worlds.sft import fine_tune

KINDS = ("plain", "odd", "hard")
PRICES = {"small": 1, "medium": 3, "expert": 3, "large": 9}
SKILL = {  # chance of a right reply to each kind
    "small": (0.9, 0.3, 0.2),
    "medium": (0.9, 0.6, 0.4),
    "expert": (0.3, 0.9, 0.3),
    "large": (0.95, 0.7, 0.7),
}
SOLVERS = tuple(PRICES)
DIGITS, CODE = 10, 4
NAMES = ("score", "format", "cost")
VOCABULARY = Calling([*map(str, range(DIGITS)), *KINDS, ":", "answer", *SOLVERS], [*SOLVERS])
FORM = re.compile(rf"((?:(?:{'|'.join(SOLVERS)}) \d )*)answer (\d)")


@dataclass(frozen=True, kw_only=True)
class RoutingConfig:
    """The arguments of world routing.

    Attributes:
        seed: Of the world's own numbers.
        turns: Solvers that can be asked before the answer, at most.
        deaf: Replies answer another question: the negative control.
        prompts: Questions that recipes see.
        held_out: Questions that no recipe sees.
        taught: Questions that the reference learned from.
        width: Width of the policy.
        layers: Layers of the policy.
        sft_steps: Steps of the reference's training.
        sft_lr: Learning rate of the training.
    """

    seed: int = 0
    turns: int = 4
    deaf: bool = False
    prompts: int = 2000
    held_out: int = 192
    taught: int = 2000
    width: int = 32
    layers: int = 2
    sft_steps: int = 150
    sft_lr: float = 5e-3

    def __post_init__(self) -> None:
        for name in ("turns", "prompts", "held_out", "taught", "sft_steps"):
            check_range(self, name, 1)
        most = len(KINDS) * DIGITS**CODE // 4
        if self.prompts + self.held_out + self.taught > most:
            raise InputError(
                f"--world.prompts, --world.held-out and --world.taught come to "
                f"{self.prompts + self.held_out + self.taught} questions; give at most {most}"
            )


class Solvers:
    """The frozen solvers: what each replies to a question.

    Args:
        key: Address of the right answers.
        deaf: Reply to another question.
    """

    def __init__(self, key: Rng, *, deaf: bool = False):
        self.key, self.deaf = key, deaf
        self.skill = torch.tensor([SKILL[s] for s in SOLVERS], dtype=torch.float64)

    def right(self, texts: Sequence[str], *, other: bool = False) -> Tensor:
        """The right digit of each question `[B]`, or of another one."""
        codes = torch.tensor([_code(t) for t in texts])
        return self.key("other" if other else "right").integers(DIGITS, codes)

    def __call__(self, prompts: Prompts, calls: Tensor, rng: Rng, place: Tensor) -> Tensor:
        """Reply to each call with a digit's token, see Replying; what is no call gets any digit."""
        texts, here = prompts.text(), calls.cpu()
        first = VOCABULARY.ids[SOLVERS[0]]
        kind = torch.tensor([KINDS.index(t.split()[0]) for t in texts])[:, None]
        skill = self.skill[(here - first).clamp(min=0), kind]
        b, n = (torch.arange(k) for k in here.shape)
        at = (b[:, None], n[None, :], place.cpu())
        known = rng("known").uniform(*at, dtype=torch.float64) < skill
        right = self.right(texts, other=self.deaf)[:, None]
        wrong = (right + 1 + rng("wrong").integers(DIGITS - 1, *at)) % DIGITS
        return (torch.where(known, right, wrong) + VOCABULARY.ids["0"]).to(calls)


class Verifier:
    """A Reward of some of score, format and cost.

    Args:
        solvers: Know the right answers.
        names: The members, in order.
    """

    partial = False

    def __init__(self, solvers: Solvers, names: Sequence[str] = NAMES):
        self.solvers, self.names = solvers, tuple(names)

    def only(self, members: Sequence[int]) -> Verifier:
        """A Reward of these members, in this order."""
        return Verifier(self.solvers, [self.names[m] for m in members])

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        right, ended = self.solvers.right(samples.prompts.text()).tolist(), samples.ended.tolist()
        rows = zip(right, samples.text(), ended, strict=True)
        found = [
            [_read(t, r, done) for t, done in zip(texts, over, strict=True)]
            for r, texts, over in rows
        ]
        all_ = torch.tensor(found, dtype=samples.logp.dtype, device=samples.logp.device)
        return all_.permute(2, 0, 1)[[NAMES.index(n) for n in self.names]]


def _code(text: str) -> int:
    """The number of a question."""
    kind, *digits, _ = text.split()
    return KINDS.index(kind) * DIGITS**CODE + int("".join(digits))


def _read(text: str, right: int, ended: bool) -> tuple[float, float, float]:
    """The score, format and cost of a completion."""
    cost = float(sum(PRICES.get(word, 0) for word in text.split()))
    form = FORM.fullmatch(text) if ended else None
    return (0.0, 0.0, cost) if form is None else (float(int(form[2]) == right), 1.0, cost)


@from_config(RoutingConfig)
def world(config: RoutingConfig) -> World:
    """Questions that a router sends to solvers of different skill and price."""
    rng = Rng(config.seed)("world routing")
    solvers = Solvers(rng("answers"), deaf=config.deaf)
    parts = [config.held_out, config.prompts, config.taught]
    codes = rng("codes").permutation(len(KINDS) * DIGITS**CODE)[: sum(parts)].split(parts)
    held_out, prompts, taught = (VOCABULARY.prompts([_question(int(c)) for c in k]) for k in codes)
    size = Config(
        len(VOCABULARY), config.width, config.layers, heads=4, kv_heads=4, inner=2 * config.width
    )
    policy = Replying(
        Llama(size, rng("policy")),
        VOCABULARY,
        replies=solvers,
        turns=config.turns,
        max_tokens=2 * config.turns + 3,
    )
    gold = Verifier(solvers, ("score", "cost"))

    def build() -> dict[str, Any]:
        loop = Loop(
            max_steps=config.sft_steps,
            batch_size=64,
            learning_rate=config.sft_lr,
            warmup_steps=20,
            seed=config.seed,
        )
        fine_tune(policy, _shown(taught, solvers, config.turns, rng("shown")), loop, rng("imitate"))
        means = gold(policy.sample(held_out, 8, rng("pass"))).mean((1, 2)).tolist()
        return {"reference": policy.state_dict(), "right": means[0], "cost": means[1]}

    built, digest = cached(
        cache_path("routing", arguments(config), __name__), build, VOCABULARY.decode
    )
    policy.load_state_dict(built["reference"])
    exact = {
        "one/single": float(solvers.skill.mean(1).max()),
        "one/kind": float(solvers.skill.amax(0).mean()),
        "pass/reference": built["right"],
        "cost/reference": built["cost"],
    }
    task = Task(
        prompts=prompts,
        reference=policy.frozen(),
        rewards=Verifier(solvers),
        rng=Rng(config.seed)("run"),
    )
    return World(
        "routing",
        task,
        held_out=held_out,
        gold=gold,
        golds=("right", "cost"),
        gold_kind="verifier",
        facts=lambda _: dict(exact),
        loop=Loop(max_steps=60, batch_size=32, num_generations=8, learning_rate=1e-3),
        arguments=arguments(config),
        digest=digest,
    )


def _question(code: int) -> str:
    kind, number = divmod(code, DIGITS**CODE)
    return f"{KINDS[kind]} {' '.join(f'{number:0{CODE}d}')} :"


def _shown(prompts: Prompts, solvers: Solvers, turns: int, rng: Rng) -> Samples:
    """Calls of one to three solvers at random, with their replies, answered by the last reply."""
    most = min(3, turns)
    at = (torch.arange(len(prompts))[:, None], torch.arange(most))
    calls = torch.tensor(VOCABULARY.calls)[rng("calls").integers(len(SOLVERS), *at)]
    said = solvers(prompts, calls, rng("said"), torch.arange(most).expand_as(calls))
    texts = []
    for d, who, what in zip(dice(len(prompts), rng("many")), calls, said, strict=True):
        n = 1 + d.below(most)
        ids = [int(t) for pair in zip(who[:n], what[:n], strict=True) for t in pair]
        texts.append([f"{VOCABULARY.decode(ids)} answer {VOCABULARY.decode(ids[-1:])}"])
    x = VOCABULARY.completions(prompts, texts)
    after = torch.isin(x.action, torch.tensor(VOCABULARY.calls))[..., :-1]
    given = torch.cat([torch.zeros_like(after[..., :1]), after], -1) & x.mask
    return replace(x, mask=x.mask & ~given, given=given)
