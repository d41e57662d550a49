"""Constrained RLHF's search: find the proxy points inside the one run, by Nelder–Mead.

`constrained` has the constraints, the advantages and what is tried here: a vertex θ is trained for
until every component's value lies within `tolerance` of its point, or for `search` steps, and then
gold labels of one batch's completions are bought. The first vertex lies far from π₀ and may take
`warmup` steps more. After `vertices` of them the best θ is kept to the end.

`near` in the statistics is the share of vertices that were reached when they were judged. A search
whose vertices are judged before they are reached chooses by where the policy happens to be. The
claim's first premise is therefore that most are reached, and its second that values are held at the
point that was kept.

The rival buys as many labels: the best of `vertices` checkpoints of static weights. Static weights
are `constrained`'s mode stop. The control's weights are those of the search by step, and follow
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Ask, Claim, Loop, Paper, Step, Task
from assay.loops import member_scores
from assay.loops.constrained import under_constraints
from assay.stats.effects import Reading, final
from assay.stats.proxy_points import TOLERANCE, held_gold, off

paper = Paper(
    "Confronting Reward Model Overoptimization with Constrained RLHF",
    "Moskovitz et al.",
    2023,
    "arXiv:2310.04373",
)
reduces = {"constrained": ({"search": 0, "warmup": 0}, {})}


def recipe(
    task: Task,
    *,
    mode: str = "mu",
    members: int = 2,
    points: list[float] | None = None,
    search: int = 20,
    warmup: int = 50,
    vertices: int = 8,
    spread: float = 0.5,
    tolerance: float = 0.05,
    dual: float = 0.1,
    limit: float = 0.0,
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step | Ask]:
    """Search for points while training under them; yield the policy after each step, or ask for
    labels.

    Args:
        mode: mu, xi, all or sat; fixed searches over static weights.
        members: Components: reward models or objectives, counted from the first.
        points: Where the search begins, one a component; 1 for each if not given.
        search: Most steps a vertex.
        warmup: How many more the first vertex may take.
        vertices: Vertices that the search tries.
        spread: Size of the search's first simplex.
        tolerance: Relative distance at which a vertex counts as reached.
        dual: Learning rate of the multipliers.
        limit: Largest |u|; 0 for none.
    """
    yield from under_constraints(
        task,
        member_scores(task, members),
        mode=mode,
        members=members,
        points=points,
        search=search,
        warmup=warmup,
        vertices=vertices,
        spread=spread,
        tolerance=tolerance,
        dual=dual,
        limit=limit,
        loop=loop,
    )


STEPS = {"max_steps": 360}
POINT = 2.8  # where gold peaks under the unconstrained sum, as in `constrained`
LOOKS = {"vertices": 8}
_HELD = {"dual": 10.0, "limit": 2.0, "points": [POINT, POINT], **STEPS}
_SEARCH = {**_HELD, **LOOKS, "search": 30, "warmup": 50, "spread": 0.5, "tolerance": 0.1}
# mean weight of `found` by step at rate .0035, seeds 0 to 4
SCHEDULE = [0.86, 0.88, 0.88, 0.88, 0.88, 0.81, 0.59, 0.58, 0.54, 0.57, 0.51]


@Claim(
    "Proxy points that are found inside the run end with more gold than PPO on the mean reward "
    "does, than the best of as many labeled checkpoints, and than the same weights without "
    "feedback.",
    arms={
        "found": ("constrained_search", _SEARCH),
        "sum": ("ppo", {"aggregate": "mean", **STEPS}),
        "stopped": ("constrained", {"mode": "stop", "weight": 1.0, **LOOKS, **STEPS}),
        "open": ("constrained", {**_HELD, "mode": "open", "schedule": SCHEDULE}),
        "single": ("leave_one_out", {}),
    },
    on={"table": {"members": 2}},
    worlds=("table",),
    turns="single",
    least={  # a tenth of the baseline's fall on seeds 100 to 119
        "reached": 0.5,
        "holds": 0.0,
        "over sum": 0.27,
        "over stopped": 0.27,
    },
    seeds="500..519",
    tuned={
        "found": {"learning_rate": (0.007, 0.005, 0.0035, 0.0025)},
        "sum": {"learning_rate": (0.005, 0.0025, 0.00125, 0.0006)},
        "stopped": {"learning_rate": (0.02, 0.01, 0.005, 0.0025)},
        "open": "found",
    },
    by=held_gold,
    control=("over open loop",),
    broken="the weights are those of found by step, the mean of seeds 0 to 4, and follow nothing",
    premises=("reached", "holds"),
    differs={
        "labels": "found and stopped buy 2,048; the part over stopped compares them",
        "generated": "they draw one more batch at each of eight looks, to be labeled",
        "seconds": "a critic with several heads, those batches, and the machine's load",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """The share of vertices that were reached when judged; by how much values stay within TOLERANCE
    of the point that was kept; and final gold less the rival's.
    """
    found = arms["found"]
    return {
        "reached": [r["stats"]["near"] for r in found if "near" in r["stats"]][-1],
        "holds": TOLERANCE - off(found),
        "over sum": final(found) - final(arms["sum"]),
        "over stopped": final(found) - final(arms["stopped"]),
        "over open loop": final(found) - final(arms["open"]),
    }
