"""A software ticket worked on in turns: an outcome with levels, and tool calls that are paid."""

from __future__ import annotations

from itertools import product

import torch

from assay.core import Rng
from assay.worlds.processes import Testbed, process_of

FILES, TURNS = 3, 20
ACTIONS = ("chat", "list", "open", "edit", "submit")
PATCHES = ("none", "wrong", "right")
LEVELS = (0.25, 0.5, 1.0)  # what submitting each patch is worth; no submission is worth 0
RIGHT = (0.0, 0.1, 0.3, 0.8)  # chance of a right edit by how many files are known


def ticket(rng: Rng) -> Testbed:
    """Three files to find, a patch to write and to submit, in twenty turns.

    Gold is the outcome, and so is the first proxy: 0 without a submission, 0.25 for an empty patch,
    0.5 for a wrong one and 1 for a right one. Beside it are three rewards for turns, each at most
    1/20 a turn: selection for opening or editing, calling for a call that can do something (open
    while files are unknown, edit once one is known, submit a patch), format for any call. Listing
    files for ever earns the third, editing for ever all of them. The base policy mostly chats.
    """
    cells = list(product(range(FILES + 1), range(len(PATCHES))))  # files known, patch
    index, end = {c: i for i, c in enumerate(cells)}, len(cells)
    found = (0.5 + 0.1 * rng("found").uniform(0, dtype=torch.float64)).item()

    def move(s: int, a: int) -> dict[int, float]:
        known, patch = cells[s]
        if ACTIONS[a] == "submit":
            return {end: 1.0}
        if ACTIONS[a] == "open" and known < FILES:
            return {index[known + 1, patch]: found, s: 1 - found}
        if ACTIONS[a] == "edit":
            p = RIGHT[known]
            return {index[known, 1]: 1 - p, index[known, 2]: p}
        return {s: 1.0}

    process = process_of(
        [*(f"{known} files, {PATCHES[patch]}" for known, patch in cells), "end"],
        ACTIONS,
        move,
        [index[0, 0]],
        horizon=TURNS,
        gamma=1.0,
        terminal=end,
    )
    shape = (end + 1, len(ACTIONS))
    outcome, selection, calling, form = (torch.zeros(shape, dtype=torch.float64) for _ in range(4))
    for s, (known, patch) in enumerate(cells):
        outcome[s, 4] = LEVELS[patch]
        selection[s, 2:4] = 1 / TURNS
        calling[s, 2:] = (
            torch.tensor([known < FILES, known > 0, patch > 0], dtype=torch.float64) / TURNS
        )
        form[s, 1:] = 1 / TURNS
    logits = torch.tensor([2.0, 0.5, 0.0, 0.0, -1.0]) + 0.3 * rng("base").normal(
        torch.arange(end + 1)[:, None], torch.arange(len(ACTIONS))
    )
    return Testbed(
        process,
        logits,
        outcome,
        ("outcome", "selection", "calling", "format"),
        torch.stack([outcome, selection, calling, form]),
    )
