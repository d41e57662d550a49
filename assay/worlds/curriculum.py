"""How the policy of world sums is trained: problems, worked solutions, preferences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Pairs, Prompts, Rng, Sampler, Samples, cat
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.rewards.simulated_labels import preferences
from assay.worlds.arithmetic import VOCABULARY, Problem, pose, solve
from assay.worlds.dice import dice
from assay.worlds.sft import fine_tune

NEAR = 0.03  # a measured pass rate this near to the requested one is accepted
ROUNDS = 3  # attempts to come near, each from the strong policy
GUESSED = 0.2  # share of the answers without scratch work that are right


def problems(
    task: str,
    low: int,
    high: int,
    *,
    n_unique: int,
    n_total: int,
    n_hidden: int,
    rng: Rng,
) -> tuple[list[Problem], list[Problem]]:
    """Problems for prompts and problems for demonstrations.

    Args:
        task: chain, modular or countdown.
        low: Fewest numbers of a problem.
        high: Most numbers of a problem.
        n_unique: Distinct problems, for prompts.
        n_total: Problems for demonstrations, with repeats.
        n_hidden: The first so many distinct problems are held out of the demonstrations.
        rng: Address of the problems.

    Returns:
        The distinct problems, and the problems for demonstrations.

    Raises:
        InputError: There are too few distinct problems.
    """
    posed = [
        pose(task, low + d.below(high - low + 1), d) for d in dice(4 * n_unique + 2 * n_total, rng)
    ]
    unique = list(dict.fromkeys(posed))[:n_unique]
    if len(unique) < n_unique:
        raise InputError(
            f"--world.prompts and --world.held-out ask for {n_unique} distinct problems, and {low} "
            f"to {high} numbers gave {len(unique)}; ask for fewer, or raise --world.most"
        )
    hidden = set(unique[:n_hidden])
    return unique, [p for p in posed if p not in hidden][:n_total]


def mistake_rate(problems: list[Problem], pass_rate: float, bare: float) -> float:
    """The probability of a mistake in a line at which a share of the solutions ends right.

    Args:
        problems: The problems that are solved.
        pass_rate: The share of solutions that is to end right.
        bare: Share of solutions without scratch work, of which a fifth is right.
    """
    lengths = [p.steps for p in problems]

    def right(h: float) -> float:
        worked = sum((1 - h) ** k for k in lengths) / len(lengths)
        return bare * GUESSED + (1 - bare) * worked

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if right(middle) > pass_rate else (low, middle)
    return low


def solutions(
    problems: list[Problem], *, mistakes: float, bare: float, again: float, rng: Rng
) -> Samples:
    """A worked solution of each problem.

    Args:
        problems: The problems.
        mistakes: Probability of a wrong line, as `arithmetic.solve` has it.
        bare: Probability that no line is written.
        again: Probability that the last line is repeated.
        rng: Every solver's choices.

    Returns:
        One completion a problem.
    """
    texts = [
        [solve(p, d, mistakes=mistakes, bare=bare, again=again)]
        for p, d in zip(problems, dice(len(problems), rng), strict=True)
    ]
    return VOCABULARY.completions(VOCABULARY.prompts([str(p) for p in problems]), texts)


def judgements(problems: list[Problem], correct: Callable[[Samples], Tensor], rng: Rng) -> Samples:
    """A verdict on a solution of each problem, or on two: how a policy is shown to judge.

    A problem and one solution, right half of the time, "problem solution :", is judged 1 (right) or
    0; a problem with a right and a wrong solution in random order, "problem one : problem other :",
    1 or 2. Either kind is a half. All verdicts are right: a small policy needs hundreds of steps
    before it sees a wrong line.

    Args:
        problems: The problems.
        correct: Whether completions are right `[B, N]`.
        rng: Address of solutions, kinds, order and verdicts.

    Returns:
        One completion, of one word, to each item.
    """
    good, bad, worse = (
        solutions(problems, mistakes=h, bare=0.0, again=0.0, rng=rng(name))
        for name, h in (("good", 0.0), ("bad", 0.5), ("worse", 1.0))
    )
    lucky, still = ((correct(x)[:, 0] > 0.5).tolist() for x in (bad, worse))
    shown = zip(good.text(), bad.text(), worse.text(), strict=True)
    throws, asked, said = dice(len(problems), rng("item")), list[str](), list[list[str]]()
    for i, ([right], [other], [worst]) in enumerate(shown):
        other, fails = (worst, not still[i]) if lucky[i] else (other, True)
        d, p = throws[i], problems[i]
        pair, first = d.chance(0.5), d.chance(0.5)
        if pair and fails:
            one, two = (right, other) if first else (other, right)
            asked.append(f"{p} {one} : {p} {two} :")
            said.append(["1" if first else "2"])
        else:
            asked.append(f"{p} {right if first else other} :")
            said.append(["1" if first or not fails else "0"])
    return VOCABULARY.completions(VOCABULARY.prompts(asked), said)


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """What the policy of world sums is trained to be.

    Attributes:
        pass_rate: Share of right answers that the reference is trained to give.
        bare: Share of demonstrations without scratch work.
        again: Share of demonstrations whose last line is repeated.
        judged: Share of demonstrations that are verdicts on solutions.
        steps: Steps of the four stages together; each has a quarter.
        learning_rate: Of the first stages.
        seed: Of the loops.
    """

    pass_rate: float
    bare: float
    again: float
    judged: float
    steps: int
    learning_rate: float
    seed: int


def train(
    policy: Causal,
    problems: list[Problem],
    measure: Callable[[], float],
    correct: Callable[[Samples], Tensor],
    curriculum: Curriculum,
    rng: Rng,
) -> dict[str, Any]:
    """Train a weak, a strong and a reference policy.

    The weak policy and then the strong one learn from solutions without mistakes. The reference
    starts from the strong one and learns the mistakes that lead to the requested pass rate, given
    how able the strong one is; another round corrects for how far the last one missed.

    Args:
        policy: Trained in place; it ends as the reference.
        problems: What it is trained on.
        measure: The pass rate of `policy` as it is now.
        correct: Whether completions are right `[B, N]`.
        curriculum: What it is trained to be.
        rng: Address of the demonstrations and their order.

    Returns:
        The weights of each stage by name, and its pass rate as `pass/NAME`.
    """
    right = solutions(problems, mistakes=0.0, bare=0.0, again=0.0, rng=rng("right"))
    n = round(curriculum.judged * len(problems))
    verdicts = judgements(problems[:n], correct, rng("judged")) if n else None
    out: dict[str, Any] = {}

    def stage(name: str, demonstrations: Samples, rate: float) -> float:
        loop = Loop(
            max_steps=max(1, curriculum.steps // 4),
            batch_size=64,
            learning_rate=rate,
            warmup_steps=20,
            seed=curriculum.seed,
        )
        shown = demonstrations if verdicts is None else cat([demonstrations[n:], verdicts])
        fine_tune(policy, shown, loop, rng("imitate")(name))
        out[name] = {k: v.clone() for k, v in policy.state_dict().items()}
        out[f"pass/{name}"] = measure()
        return float(out[f"pass/{name}"])

    wanted, rate = curriculum.pass_rate, curriculum.learning_rate
    stage("weak", right, rate)
    stage("middle", right, rate)
    able = max(stage("strong", right, rate / 4), 0.01)
    # few mistakes need small steps: a large step alone costs a few points
    gentle = rate / (2 if wanted < 0.8 else 8)
    aim = wanted
    for _ in range(ROUNDS):
        policy.load_state_dict(out["strong"])
        bare, again = min(curriculum.bare, (1 - aim) / 2), min(curriculum.again, (1 - aim) / 2)
        mistakes = mistake_rate(problems, min(1.0, aim / able), bare)
        flawed = solutions(problems, mistakes=mistakes, bare=bare, again=again, rng=rng("lessons"))
        found = stage("reference", flawed, gentle)
        if abs(found - wanted) <= NEAR:
            break
        aim = min(1.0, max(0.0, aim + wanted - found))
    return out


def ranked_pairs(
    policy: Sampler,
    prompts: Prompts,
    gold: Callable[[Samples], Tensor],
    *,
    n: int,
    noise: float,
    rng: Rng,
) -> Pairs:
    """Pairs of the best and the worst of four completions, with some labels flipped.

    Completions are ranked by correctness, and then by the share of right steps; where all four are
    alike, any two make a pair.

    Args:
        policy: Samples four completions a pair.
        prompts: Each pair's prompt is one of these at random.
        gold: Completions to correctness, share of right steps and more `[K, B, N]`.
        n: Pairs.
        noise: Share of flipped labels.
        rng: Address of prompts, completions and flips.
    """
    rows = rng("prompt").integers(len(prompts), torch.arange(n))
    completions = policy.sample(prompts[rows], 4, rng("answers"))
    correct, sound, *_ = gold(completions)
    ranked = (2 * correct + sound).argsort(dim=-1, descending=True, stable=True)[:, [0, -1]]
    return preferences(completions.pick(ranked), None, noise=noise, rng=rng)
