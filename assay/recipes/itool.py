"""iTool: find the calls that the policy has not learned, search pairs of fragments there, repeat.

A round has four parts. The demonstrations are ranked by the policy's perplexity on them,
exp(−mean log π), and `batch_size` prompts are taken of the share `ratio` that is hardest. There a
tree of steps is searched by PUCT, see mcts_dpo. At every node of the tree the child of the largest
Q against that of the least is a pair, if the two are `apart`, do not `overlap` and the better one
is `worth` it. Then the policy is fitted to the pairs:

    dpo    −log σ(β·(Δ_w − Δ_l)),   Δ = Σ log π/π_k over the tokens from where the two part
    simpo  −log σ(β·(m_w − m_l) − γ),   m = the mean of log π over those tokens, no reference

π_k is the policy of when the round began. Means over pairs; no other KL. Labels are hard.

A child is worth the mean of +1 and −1 of the completions that it was cut from, by whether their
reward reaches `right`. The released code asks the policy to judge a fragment, with the right call
in the question, and adds how many words it shares with the right call: both leak the answer into
the search, and are left out. It also compares sums over visits in place of means, selects by
Q + c·p·√(log N_parent/(N + 1)), and draws with a temperature of 1.5; here that is the policy's.
The paper's warm-up, imitation of easy calls first, is a run of `sft` before this one. Its loss has
β = 0.01 by default, and 2.5 with γ = 0.5 in the script that runs simpo.

Differs from mcts_dpo in which prompts are searched, in the pairs off the chosen path, in hard
labels, and in π_k for π₀. `--select random` is the rival of equal size, `easy` the other end;
`--level instance` pairs whole completions of the same prompts, best against worst; `--label coin`
is the negative control. Selecting what is hard also selects demonstrations that are wrong: they
are read to rank prompts, and never imitated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Policy, Prompts, Step, Task
from assay.engine.parallel import by_rows
from assay.formulas.pairwise import dpo
from assay.loops import imitated, proxy_score
from assay.loops.preference_rounds import rounds
from assay.loops.search_trees import Forest, Leaves
from assay.loops.tree_search import PuctSearch, every_decision, is_clear, step_pairs
from assay.loops.whole_pairs import tossed, whole_pairs
from assay.stats.effects import Reading, final

paper = Paper(
    "Boosting Tool Use of Large Language Models via Iterative Reinforced Fine-Tuning",
    "Zeng et al.",
    2025,
    "arXiv:2501.09766",
)
reduces = {}


def recipe(
    task: Task,
    *,
    loss: Literal["dpo", "simpo"] = "dpo",
    beta: float = 0.1,
    gamma: float = 0.5,
    round_steps: int = 8,
    select: Literal["hard", "random", "easy"] = "hard",
    ratio: float = 0.3,
    children: int = 2,
    iterations: int = 5,
    depth: int = 2,
    c: float = 1.0,
    apart: float = 0.1,
    overlap: float = 0.95,
    worth: float = -0.3,
    level: Literal["step", "instance"] = "step",
    label: Literal["search", "coin"] = "search",
    right: float = 0.5,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Rank, search and learn, round after round; yield the policy after each update.

    Args:
        loss: dpo against the round's first policy, or simpo, see above.
        beta: Strength of the implicit KL penalty, per nat.
        gamma: Margin of simpo.
        round_steps: Updates of a round; each is over all its pairs, or `mini_batch_size` of them.
        select: Prompts are the hard ones, random or easy.
        ratio: Share of the demonstrations that is hard, or easy.
        children: Completions at a time of a node; twice as many of the prompt.
        iterations: Walks from each root.
        depth: Steps that a walk looks ahead, at most.
        c: Weight of exploration.
        apart: Least difference in Q of the two steps of a pair.
        overlap: Largest share of tokens that they have in common.
        worth: Least value of the better one, from −1 to 1.
        level: Pairs of steps, or of whole completions without a search: step or instance.
        label: Which one is better: as the search says, or as a coin does.
        right: Reward from which a completion is right.
        member: Index of the reward model that is the outcome.
    """
    if min(children, iterations, depth) < 1 or c < 0 or not 0 < ratio <= 1:
        raise InputError(
            f"--children is {children}, --iterations {iterations}, --depth {depth}, --c {c} and "
            f"--ratio {ratio}; give at least 1 of the first three, c at least 0, and a share above "
            "0 up to 1"
        )
    score, shown = proxy_score(task, member), imitated(task, "demos")
    search = PuctSearch(
        iterations=iterations, first=1, depth=depth, c=c, gamma=1.0, penalty=1.0, recount=False
    )

    def chosen(policy: Policy, k: int) -> tuple[Prompts, dict[str, float]]:
        """The round's prompts, and how many nats a token their demonstrations take."""
        nats = -by_rows(policy.logp, shown).sum((1, 2)) / shown.lengths[:, 0]
        rows = ranked(nats, select, ratio)
        few = rows[task.rng("prompts", k).permutation(len(rows)).to(rows.device)][: loop.batch_size]
        stats = {"deficiency/all": float(nats.mean()), "deficiency/chosen": float(nats[few].mean())}
        return shown.prompts[few], stats

    def judged(fresh: Leaves) -> None:
        for _, child in fresh:
            signs = [1.0 if o >= right else -1.0 for o in child.outcomes]
            child.value = sum(signs) / len(signs) if signs else 0.0

    def found(policy: Policy, k: int) -> tuple[Pairs | None, dict[str, float]]:
        prompts, stats = chosen(policy, k)
        rng = task.rng("search", k)
        if level == "instance":
            pairs, more = whole_pairs(policy, prompts, loop.num_generations, score, rng("grow", 0))
        else:
            forest = Forest(
                policy,
                prompts,
                children=children,
                step_of=task.rewards.step_of,
                score=score,
                rng=rng,
            )
            search.decisions(forest, judged)
            clear = [
                [
                    d
                    for d in every_decision(root)
                    if is_clear(d, apart=apart, overlap=overlap, worth=worth)
                ]
                for root in forest.roots
            ]
            dtype = next(iter(policy.parameters())).dtype
            pairs = step_pairs(prompts, clear, second=False, dtype=dtype)
            pairs = None if pairs is None else replace(pairs, p=torch.ones_like(pairs.p))
            more = {
                "search/right": sum(o >= right for o in forest.scores) / max(len(forest.scores), 1),
                "search/completions": float(len(forest.scores)),
                "search/unscored": float(forest.unscored),
            }
        if pairs is not None and label == "coin":
            pairs = tossed(pairs, rng("coin"))
        return pairs, {**stats, **more}

    def fitted(rows: Pairs, policy: Tensor, previous: Tensor, _: Tensor) -> Tensor:
        if loss == "dpo":
            return dpo(policy - previous, torch.zeros_like(policy), beta=beta, p=rows.p)
        margin = torch.full_like(policy, gamma)  # for whichever of the two is preferred
        return dpo((2 * rows.p - 1) * policy, torch.zeros_like(policy), beta=beta, margin=margin)

    yield from rounds(
        task,
        loop,
        round_steps=round_steps,
        begin=found,
        loss=fitted,
        beta=beta,
        score=score,
        length_mean=loss == "simpo",
    )


def ranked(nats: Tensor, select: str, ratio: float) -> Tensor:
    """Rows of the share that is hardest or easiest, or of all, `[K]`."""
    rows = torch.arange(len(nats), device=nats.device)
    if select == "random":
        return rows
    order = nats.argsort(descending=select == "hard", stable=True)
    return rows[order[: max(1, int(len(nats) * ratio))]]


_WORLD = {"rewards": "exact", "bad": 0.0, "schooled": 0.4, "sft_steps": 150, "prompts": 400}
_STEPS = {"max_steps": 24, "loss": "dpo"}
_RATES = {"learning_rate": (1.25e-4, 2.5e-4, 5e-4, 1e-3)}


@Claim(
    "Searching pairs of fragments where the policy is most perplexed teaches it more right calls "
    "than searching anywhere, and than pairs of whole calls.",
    arms={
        "mine": ("itool", _STEPS),
        "anywhere": ("itool", {**_STEPS, "select": "random"}),
        "whole": ("itool", {**_STEPS, "level": "instance", "num_generations": 32}),
        "coins": ("itool", {**_STEPS, "label": "coin"}),
    },
    worlds=("calculator",),
    on={"calculator": _WORLD},
    # two calls in a hundred; to beat the control is enough
    least={"over random prompts": 0.02, "over whole calls": 0.02, "over coins": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "anywhere": _RATES, "whole": _RATES, "coins": "mine"},
    control=("over coins",),
    broken="which fragment of a pair is better is tossed by a coin",
    differs={
        "generated": "a search completes beginnings as it needs them, and its rival a fixed number",
        "scored": "what is completed is scored",
        "seconds": "a search goes on step by step",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right calls minus that of the same search on random prompts, minus that of
    pairs of whole calls to the hard prompts, and minus that of the same fragments labelled by
    coins.
    """
    mine = final(arms["mine"])
    return {
        "over random prompts": mine - final(arms["anywhere"]),
        "over whole calls": mine - final(arms["whole"]),
        "over coins": mine - final(arms["coins"]),
    }
