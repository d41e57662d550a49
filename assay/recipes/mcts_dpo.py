"""MCTS-DPO: a tree search finds which next step is better, and DPO learns it, round after round.

In a round the policy searches a tree of steps for each prompt. A walk goes down by PUCT,

    Q + c·p·√N_parent / (1 + N),    p = exp(Σ log π / length^1.25)

grows every node without children that it meets, to an end or `depth` steps ahead, and backs up

    Q = r + γ·V,   r = v − v_parent,   V = Σ max(1, N)·Q / Σ max(1, N) over the children.

A finished completion is worth +1 if its reward reaches `right` and −1 if not (O). `evaluate` says
what is added: self, the policy's own confidence C in what is written so far (the paper's); none
(its ablation); or rollout, which adds nothing to an end and gives an unfinished step the mean O of
the completions that it was cut from, at no further cost. After the walks from a node, its most
visited child is the next root, until the completion ends. At each root the best child (by visits,
then Q) against the worst one is a pair, and

    L = −(1 − ε)·log σ(z) − ε·log σ(−z),    z = β·(ℓ_w − ℓ_l),    ε = min(½, N_l/(N_w + N_l))

ℓ = Σ log π/π₀ over the tokens from where the two part: what both begin with is given, and would
cancel. π₀ is the run's reference in all rounds. Sums over tokens, means over pairs; no other KL.

The released code differs: `--rejected second` takes the second best child, and `--recount` counts a
walk again for every node that it grows. It also shows the judge of `self` the right solution, which
leaks the label into C; here the judge sees `--question` alone, and its confidence is the chance of
the first token of `--yes`. A step that the policy writes twice is one child.

`--level instance` is the paper's rival: whole completions of each prompt, the best against the
worst by reward, no search, and hard labels. `--label coin` keeps the search, its steps and ε, and
tosses a coin for which of the two is better: the negative control. `--searcher reference` searches
with π₀ in all rounds: off-policy.

Steps are the reward's (`step_of`); those of text are its lines. A completion is sampled to its end
and cut after its next step, so that a grown child costs a whole completion: count those
(`generated`), not nodes. Where a step has few good continuations, the tree has little to decide.
In world sums the judge of `self` was shown whole solutions at most (`--world.judged`), and no
unfinished ones: the claim's arms run the ablation without it. They end where pairs of whole
completions do, and above coins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from assay.core import (
    Claim,
    InputError,
    Loop,
    Pairs,
    Paper,
    Policy,
    Prompts,
    Rng,
    Step,
    Task,
)
from assay.core.policy import EncodesText, require
from assay.formulas.pairwise import dpo
from assay.loops import proxy_score
from assay.loops.preference_rounds import rounds
from assay.loops.search_trees import Forest, Leaves
from assay.loops.tree_search import PuctSearch, step_pairs
from assay.loops.whole_pairs import tossed, whole_pairs
from assay.stats.effects import Reading, final

paper = Paper(
    "Monte Carlo Tree Search Boosts Reasoning via Iterative Preference Learning",
    "Xie et al.",
    2024,
    "arXiv:2405.00451",
)
reduces = {}


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    round_steps: int = 4,
    children: int = 2,
    iterations: int = 8,
    first: int = 4,
    depth: int = 3,
    c: float = 1.0,
    gamma: float = 1.0,
    penalty: float = 1.25,
    evaluate: Literal["self", "none", "rollout"] = "self",
    question: str = "{prompt} {answer} :",
    yes: str = "1",
    level: Literal["step", "instance"] = "step",
    rejected: Literal["worst", "second"] = "worst",
    recount: bool = False,
    label: Literal["search", "coin"] = "search",
    searcher: Literal["policy", "reference"] = "policy",
    right: float = 0.5,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Search, learn from what was found, and search again; yield the policy after each update.

    Args:
        beta: Strength of the implicit KL penalty, per nat.
        round_steps: Updates of a round; each is over all its pairs, or `mini_batch_size` of them.
        children: Completions at a time of a node; twice as many of the prompt.
        iterations: Walks from each root.
        first: Walks from the prompt, as a multiple.
        depth: Steps that a walk looks ahead, at most.
        c: Weight of exploration.
        gamma: Discount of a child's value.
        penalty: Power of the length in a step's prior.
        evaluate: What unfinished steps are worth: self, none or rollout, see above.
        question: What a judge of `self` reads, with the places {prompt} and {answer}.
        yes: What it says of an answer that is right so far.
        level: Pairs of steps, or of whole completions without a search: step or instance.
        rejected: Which child is the rejected one: worst or second.
        recount: Count a walk again for each node that it grows.
        label: Which step is better: as the search says, or as a coin does.
        searcher: Who searches: policy or reference.
        right: Reward from which a completion is right.
        member: Index of the reward model that is the outcome.
    """
    if min(children, iterations, first, depth) < 1 or c < 0:
        raise InputError(
            f"--children is {children}, --iterations {iterations}, --first {first}, --depth "
            f"{depth} and --c {c}; give at least 1 of each, and c at least 0"
        )
    if not ("{answer}" in question and yes.strip()):
        raise InputError(
            f"--question is '{question}' and --yes '{yes}'; the question has the place {{answer}}, "
            "and the judge says at least one word"
        )
    score = proxy_score(task, member)
    search = PuctSearch(
        iterations=iterations,
        first=first,
        depth=depth,
        c=c,
        gamma=gamma,
        penalty=penalty,
        recount=recount,
    )

    def found(policy: Policy, k: int) -> tuple[Pairs | None, dict[str, float]]:
        by = policy if searcher == "policy" else task.reference
        prompts, rng = task.batch(loop, k), task.rng("search", k)
        if level == "instance":
            return whole(by, prompts, rng)
        forest = Forest(
            by, prompts, children=children, step_of=task.rewards.step_of, score=score, rng=rng
        )
        texts = prompts.text() if evaluate == "self" else []

        def judged(fresh: Leaves) -> None:
            sure = (
                confidence(by, prompts, texts, fresh) if evaluate == "self" else [0.0] * len(fresh)
            )
            for (_, child), own in zip(fresh, sure, strict=True):
                signs = [1.0 if o >= right else -1.0 for o in child.outcomes]
                known = signs and (child.done or evaluate == "rollout")
                child.value = own + (sum(signs) / len(signs) if known else 0.0)

        pairs = step_pairs(
            prompts,
            search.decisions(forest, judged),
            second=rejected == "second",
            dtype=next(iter(policy.parameters())).dtype,
        )
        stats = {
            "search/right": sum(o >= right for o in forest.scores) / max(len(forest.scores), 1),
            "search/completions": float(len(forest.scores)),
            "search/unscored": float(forest.unscored),
        }
        if pairs is None:
            return None, stats
        stats["search/smoothing"] = float(1 - pairs.p.mean())
        return (tossed(pairs, rng("coin")) if label == "coin" else pairs), stats

    def whole(by: Policy, prompts: Prompts, rng: Rng) -> tuple[Pairs | None, dict[str, float]]:
        pairs, stats = whole_pairs(by, prompts, loop.num_generations, score, rng("grow", 0))
        if pairs is not None and label == "coin":
            pairs = tossed(pairs, rng("coin"))
        return pairs, stats

    def confidence(by: Policy, prompts: Prompts, texts: list[str], fresh: Leaves) -> list[float]:
        """The judge's chance of the first token of `yes`, of each of these beginnings."""
        if not fresh:
            return []
        decode = prompts.decode
        assert decode is not None  # the prompts had texts
        asked = [
            question.replace("{prompt}", texts[row]).replace("{answer}", decode(node.tokens))
            for row, node in fresh
        ]
        x = require(by, EncodesText, "mcts_dpo").encode(asked, [[yes]] * len(asked))
        chances: list[float] = by.logp(x)[:, 0, 0].exp().tolist()
        return chances

    def loss(rows: Pairs, policy: Tensor, _: Tensor, reference: Tensor) -> Tensor:
        ratio = policy - reference
        return dpo(ratio, torch.zeros_like(ratio), beta=beta, p=rows.p)

    yield from rounds(
        task,
        loop,
        round_steps=round_steps,
        begin=found,
        loss=loss,
        beta=beta,
        score=score,
        to_reference=True,
    )


_WORLD = {"task": "modular", "least": 4, "most": 4, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome", "bare": 0.0, "again": 0.0}
_STEPS = {"max_steps": 24, "beta": 0.3}
_SEARCH = {**_STEPS, "evaluate": "none", "iterations": 4, "first": 2}
_RATES = {"learning_rate": (1.25e-4, 2.5e-4, 5e-4, 1e-3)}


@Claim(
    "Pairs of steps from a tree search teach the policy more than pairs of whole completions from "
    "at least as many completions do, and than the same steps with labels that are coins.",
    arms={
        "mine": ("mcts_dpo", _SEARCH),
        "instance": ("mcts_dpo", {**_STEPS, "level": "instance", "num_generations": 24}),
        "coins": ("mcts_dpo", {**_SEARCH, "label": "coin"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two completions in a hundred; to beat the control is enough
    least={"over whole completions": 0.02, "over coins": 0.0},
    seeds="100..114",
    tuned={"mine": _RATES, "instance": _RATES, "coins": "mine"},
    control=("over coins",),
    broken="a coin says which of two steps is the better one",
    differs={
        "generated": "whole completions are given no fewer than the search takes",
        "scored": "whole completions are given no fewer than the search takes",
        "seconds": "a search samples in many small batches",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that with pairs of whole completions, and minus that with
    labels that are coins.
    """
    mine = final(arms["mine"])
    return {
        "over whole completions": mine - final(arms["instance"]),
        "over coins": mine - final(arms["coins"]),
    }
