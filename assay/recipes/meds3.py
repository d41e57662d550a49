"""MedS³: search trees of steps, imitate their right ends, and let their values weigh the votes.

In a round the policy searches a tree of steps for each prompt by UCT,

    V + c·√(log N_parent / N),   `unvisited` (5) for a child never visited

An open leaf is expanded by `children` steps, unless `sure` of its rollouts ended right: then it is
completed at once. A new node at depth d is rolled out max(`rollouts`//(d+1), 5) times; the share of
right ends is its value, and every node above takes V ← (V + Σ N·V_child/Σ N)/2. A tree stops at
`nodes` nodes or `enough` right ends. Then

    policy:   −log π over the right completions of the trees, for `round_steps` updates
    verifier: −v·log q − (1−v)·log(1−q) over all nodes, v what was backed up (soft labels)

and the next round searches with the tuned policy. The verifier is a value head on a copy of the
reference. To answer, the policy writes `votes` completions; each counts the least q of its steps
for its answer (P-VS), and the best completion of the elected answer is returned. Each step yields
the policy at one completion, by majority (each counts 1), and by these votes.

The title is that of version 2; later versions add preference pairs and a second, dual label, which
are not here. The released code gives `sure` .9, 3 children, 60 nodes, 4 right ends, 20 rollouts,
16 votes and one round. It differs: a search ends with completing open leaves, a second round reads
the verifier in place of rollouts, and prompts ask for steps and answers in words. Here a step that
is written twice is one child, and the completion that a node was cut from is one of its rollouts.

`--label rollout` fits the node's own rollouts, which are unbiased for its chance; what is backed
up prefers what UCT visits. `--label shuffled` gives each node another one's value: the control.

Steps are the reward's (`step_of`). Answers are those of `answer:COLUMN` in the text; completions
without text are equal where all tokens are. Sums over tokens, means over completions. KL of a vote
is an upper bound: see `Voting`. A search costs many completions, which count as generated: 90 of a
prompt at 24 nodes in world sums.

Trap: a verifier may know nothing. `verifier/error` beside `verifier/error_of_mean`, that of the
mean label, says whether it knows anything of prompts that it did not see; where it does not, its
votes elect fewer right answers than the majority.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import (
    Claim,
    HasValueHead,
    InputError,
    Loop,
    Paper,
    Policy,
    Rng,
    Samples,
    Step,
    Task,
    require,
)
from assay.formulas.process import step_mask
from assay.formulas.votes import least_step
from assay.loops import proxy_score, update
from assay.loops.search_trees import Forest
from assay.loops.uct_search import UctSearch, leaves, trajectories, tree_labels
from assay.loops.verifiers import Labels, fitted_verifier, values
from assay.models.samplers.voting import Voting
from assay.rewards.final_answer import final_answer
from assay.stats.effects import Reading

paper = Paper(
    "MedS^3: Towards Medical Small Language Models with Self-Evolved Slow Thinking",
    "Jiang et al.",
    2025,
    "arXiv:2501.12051v2",
)
reduces = {}


def recipe(
    task: Task,
    *,
    round_steps: int = 8,
    children: int = 3,
    nodes: int = 60,
    enough: int = 4,
    rollouts: int = 20,
    sure: float = 0.9,
    c: float = 2.0,
    unvisited: float = 5.0,
    votes: int = 16,
    label: Literal["search", "rollout", "shuffled"] = "search",
    verifier_steps: int = 50,
    verifier_lr: float = 0.0,
    held_out: float = 0.2,
    right: float = 0.5,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[list[Step]]:
    """Search, imitate and fit, round after round; yield the policy and its votes after each update.

    Args:
        round_steps: Updates of the policy in a round.
        children: Steps that a node is expanded by, at most.
        nodes: Nodes of a tree from which its search stops.
        enough: Right completions of a tree from which its search stops.
        rollouts: Rollouts of the prompt's depth; fewer further down, and at least 5.
        sure: Share of right rollouts from which a node is completed at once.
        c: Weight of exploration.
        unvisited: What a child that was never visited is worth to UCT.
        votes: Completions of a vote.
        label: What the verifier is fitted to: search, rollout or shuffled, see above.
        verifier_steps: Updates of the verifier in a round.
        verifier_lr: Its learning rate; 0 for the policy's.
        held_out: Share of the searched prompts that only measure its error.
        right: Reward from which a completion is right.
        member: Index of the reward model that is the outcome.
    """
    if min(round_steps, children, nodes, enough, rollouts, votes) < 1 or c < 0:
        raise InputError(
            f"--round-steps is {round_steps}, --children {children}, --nodes {nodes}, --enough "
            f"{enough}, --rollouts {rollouts}, --votes {votes} and --c {c}; give at least 1 of "
            "each, and c at least 0"
        )
    score = proxy_score(task, member)
    search = UctSearch(
        c=c,
        unvisited=unvisited,
        nodes=nodes,
        enough=enough,
        rollouts=rollouts,
        sure=sure,
        right=right,
    )
    reference = require(task.reference, HasValueHead, "meds3")
    policy, verifier = task.reference.copy(), reference.value_head(1, task.rng("verifier"))
    opt = loop.optimiser(policy)
    carry: Any = task.carry.keep(policy=policy, opt=opt, verifier=verifier, data=None)

    def searched(k: int) -> tuple[Samples | None, dict[str, float]]:
        rng = task.rng("search", k)
        prompts = task.batch(loop, k)
        with torch.no_grad():
            forest = Forest(
                policy,
                prompts,
                children=children,
                step_of=task.rewards.step_of,
                score=score,
                rng=rng,
                at_prompt=1,
            )
            search.grow(forest)
        dtype = next(iter(policy.parameters())).dtype
        ends = [[n for n in leaves(r) if n.done and n.q >= sure] for r in forest.roots]
        stats = {
            "search/completions": float(len(forest.scores)),
            "search/right": sum(s >= right for s in forest.scores) / max(len(forest.scores), 1),
            "search/solved": sum(map(bool, ends)) / len(ends),
            "search/unscored": float(forest.unscored),
        }
        found = tree_labels(prompts, forest.roots, dtype=dtype, rollout=label == "rollout")
        if found is not None and len(found[0].samples) > 1:
            known, target = found
            if label == "shuffled":
                target = elsewhere(target, known, rng("shuffle"))
            fit = replace(
                loop,
                max_steps=verifier_steps,
                learning_rate=verifier_lr or loop.learning_rate,
                batch_size=min(16, len(known.samples)),
            )
            told = fitted_verifier(
                verifier, known, target, loop=fit, held_out=held_out, rng=rng("fit")
            )
            stats |= {f"verifier/{name}": value for name, value in told.items()}
        return trajectories(prompts, ends, dtype=dtype), stats

    def worth(read: Any, x: Samples) -> Tensor:
        step = task.rewards.step_of(x)
        q = torch.sigmoid(values(read, x, step))[..., 1:]
        return least_step(q, step_mask(step))

    def one_each(_: Any, x: Samples) -> Tensor:
        return torch.ones_like(x.logp[..., 0])

    def loss(rows: Samples, _: Any) -> Tensor:
        return -policy.logp(rows)

    for t in carry.steps(loop.max_steps):
        stats: dict[str, float] = {}
        if t % round_steps == 0:
            carry.data, stats = searched(t // round_steps)
        data = carry.data
        if data is not None:
            stats |= update(opt, loss, data, loop, task.rng("minibatch", t), split="completions")
        yield [
            Step(policy, reward=score, tag="one", stats=stats),
            Step(_vote(policy, None, votes, one_each), reward=score, tag="majority", stats=stats),
            Step(_vote(policy, verifier, votes, worth), reward=score, tag="verifier", stats=stats),
        ]


def _vote(policy: Policy, verifier: Any, votes: int, score: Any) -> Voting:
    return Voting(policy, verifier, votes, score=score, answer=answers)


def answers(x: Samples) -> Tensor:
    """Number each completion's final answer `[B,N]`; equal answers of a prompt have one number."""
    decode, own = x.prompts.decode, x.mask | x.given
    out = torch.zeros(own.shape[:2], dtype=torch.int64)
    every = x.action.tolist(), own.tolist()
    for b, (actions, heres) in enumerate(zip(*every, strict=True)):
        known: dict[Any, int] = {}
        for n, (tokens, here) in enumerate(zip(actions, heres, strict=True)):
            said = [t for t, there in zip(tokens, here, strict=True) if there]
            answer = tuple(said) if decode is None else final_answer(decode(said))
            out[b, n] = known.setdefault(answer, len(known))
    return out


def elsewhere(target: Tensor, labels: Labels, rng: Rng) -> Tensor:
    """The labels in random order among the prefixes that have one."""
    mixed = target[labels.here][rng.permutation(int(labels.here.sum())).to(target.device)]
    return target.masked_scatter(labels.here, mixed)


def last(readings: list[Reading], tag: str) -> float:
    """Gold of the last reading with this tag, the best checkpoint's aside."""
    return next(float(r["gold"]) for r in reversed(readings) if r["tag"] == tag)


def tuned_by(readings: list[Reading]) -> float:
    """What a learning rate is chosen by: gold of the vote."""
    return last(readings, "verifier")


_WORLD = {"task": "modular", "least": 4, "most": 4, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome", "bare": 0.0, "again": 0.0}
_RUN = {"max_steps": 8, "round_steps": 8, "batch_size": 64, "nodes": 24, "votes": 8}
_RUN |= {"verifier_steps": 100, "num_generations": 4}
_RATES = {"learning_rate": (2.5e-4, 1e-3), "verifier_lr": (3e-4, 1e-3)}


@Claim(
    "Votes weighed by a verifier that was fitted to the values of search trees elect more right "
    "answers than votes that count one each, and than those of a verifier of shuffled values, at "
    "as many completions of an answer.",
    arms={
        "mine": ("meds3", _RUN),
        "shuffled": ("meds3", {**_RUN, "label": "shuffled"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # two answers in a hundred; to beat the control is enough
    least={"over majority": 0.02, "over shuffled": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "shuffled": "mine"},
    by=tuned_by,
    control=("over shuffled",),
    broken="each node of the trees has the value of another one",
    differs={"seconds": "the arms ran at other times"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers of the weighed vote minus that of the majority of the same
    policy's completions, and minus that of a weighed vote with shuffled values.
    """
    mine = last(arms["mine"], "verifier")
    return {
        "over majority": mine - last(arms["mine"], "majority"),
        "over shuffled": mine - last(arms["shuffled"], "verifier"),
    }
