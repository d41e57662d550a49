"""Processes with one goal and heuristic rewards beside it: a chain, and rooms with a locked door.

chain: a goal far to the right and a decoy near to the left. grid: four rooms, and the only way into
the last one is a door that needs a key.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.core import Rng
from assay.models.process import Process
from assay.worlds.processes import Testbed, process_of


def _heuristics(process: Process, goal: int, decoy: list[int], rng: Rng) -> Float[Tensor, "3 S A"]:
    """Three rewards that an engineer might add to the goal's.

    helpful: 0.05 for each step that brings the goal nearer by the map. useless: noise for each
    state. adversarial: 0.1 for staying where there is nothing to do, which sums to more than the
    goal pays.
    """
    S, A, _ = process.P.shape
    far = torch.full((S,), float(S), dtype=torch.float64)
    far[goal] = 0
    likely = process.P.argmax(-1)  # where a step leads unless it slips
    for _ in range(S):
        far = torch.minimum(far, 1 + far[likely].amin(-1))
    nearer = 0.05 * (far[:, None] - far[likely]).clamp(-1, 1)
    nearer[goal], nearer[process.terminal] = 0, 0
    noise = 0.05 * rng("useless").normal(torch.arange(S), dtype=torch.float64)
    noise[process.terminal] = 0
    dwell = torch.zeros(S, dtype=torch.float64)
    dwell[decoy] = 0.1
    return torch.stack([nearer, noise[:, None].expand(S, A), dwell[:, None].expand(S, A)])


def _with_heuristics(
    process: Process, goal: int, pay: dict[int, float], decoy: list[int], rng: Rng
) -> Testbed:
    """The primary reward is gold; `pay` is what each state pays."""
    S, A, _ = process.P.shape
    gold = torch.zeros(S, A, dtype=torch.float64)
    for s, value in pay.items():
        gold[s] = value
    logits = 0.3 * rng("base").normal(torch.arange(S)[:, None], torch.arange(A))
    return Testbed(
        process,
        logits,
        gold,
        ("primary", "helpful", "useless", "adversarial"),
        torch.cat([gold[None], _heuristics(process, goal, decoy, rng)]),
    )


LENGTH, BEGIN, SLIP = 18, 5, 0.05


def chain(rng: Rng) -> Testbed:
    """Places in a row, with slippery ground: a step goes backwards with probability 0.05.

    Any action at the right end pays 1 and ends the episode, at the left end 0.1.
    """

    def move(s: int, a: int) -> dict[int, float]:
        if s in (0, LENGTH - 1):
            return {LENGTH: 1.0}
        step = (-1, 1)[a]
        return {s + step: 1 - SLIP, s - step: SLIP}

    process = process_of(
        [*(f"x{i:02}" for i in range(LENGTH)), "end"],
        ("left", "right"),
        move,
        [BEGIN],
        horizon=30,
        gamma=0.97,
        terminal=LENGTH,
    )
    return _with_heuristics(
        process, LENGTH - 1, {LENGTH - 1: 1.0, 0: 0.1}, list(range(1, BEGIN)), rng
    )


DOORWAYS, DOOR, KEY, GOAL = ((1, 2), (2, 1)), (3, 2), (1, 3), (4, 4)


def _looks(cell: tuple[int, int], key: int) -> str:
    """What a state of the grid looks like, in sentences."""
    if cell == DOOR:
        place = "in the open doorway of the locked door"
    elif cell in DOORWAYS:
        place = f"in the doorway at row {cell[0]}, column {cell[1]}"
    else:
        room = f"{('upper', 'lower')[cell[0] > 2]} {('left', 'right')[cell[1] > 2]}"
        place = f"in the {room} room at row {cell[0]}, column {cell[1]}"
        place += ", on the goal" if cell == GOAL else ""
    return f"The agent is {place}. It carries {'the key' if key else 'nothing'}."


def _subgoals(held: list[tuple[tuple[int, int], int]]) -> dict[str, Bool[Tensor, "S S"]]:
    """What an annotator would call progress, and the transitions between states that reach it."""
    key = torch.tensor([bool(k) for _, k in held])
    door, goal = (torch.tensor([c == at for c, _ in held]) for at in (DOOR, GOAL))
    return {
        "pick up the key": ~key[:, None] & key,
        "open the locked door": ~door[:, None] & door,
        "reach the goal": ~goal[:, None] & goal,
    }


def grid(rng: Rng) -> Testbed:
    """Four rooms of four cells; the goal in the last room pays 1, and its door needs a key.

    The key lies in the second room.
    """
    cells = [
        (r, c)
        for r, c in product(range(5), range(5))
        if (r != 2 and c != 2) or (r, c) in (*DOORWAYS, DOOR)
    ]
    held = [
        (c, k) for k in (0, 1) for c in cells if k or not (c in (DOOR, KEY) or min(c) > 2)
    ]  # what can be reached
    index, end = {h: i for i, h in enumerate(held)}, len(held)

    def move(s: int, a: int) -> dict[int, float]:
        (r, c), key = held[s]
        if (r, c) == GOAL:
            return {end: 1.0}
        out: dict[int, float] = {}
        for way, (dr, dc) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            to = (r + dr, c + dc)
            to = to if to in cells and (key or to != DOOR) else (r, c)
            there = index[to, int(key or to == KEY)]
            out[there] = out.get(there, 0.0) + (1 - SLIP if way == a else SLIP / 3)
        return out

    names = [f"{r}{c}{'k' if k else ''}" for (r, c), k in held]
    goal = index[GOAL, 1]
    process = process_of(
        [*names, "end"],
        ("up", "down", "left", "right"),
        move,
        [index[c, 0] for c in ((0, 0), (0, 1), (1, 0), (1, 1))],
        horizon=30,
        gamma=0.97,
        terminal=end,
    )
    process = replace(
        process,
        aim="Reach the goal in the lower right room. The door to that room is locked, and the key "
        "to it lies in the upper right room.",
        texts=(*(_looks(*h) for h in held), "The episode is over."),
        subgoals=_subgoals([*held, ((-1, -1), 1)]),
    )
    return _with_heuristics(process, goal, {goal: 1.0}, [index[(0, 0), k] for k in (0, 1)], rng)
