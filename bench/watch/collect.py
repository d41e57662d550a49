"""Real runs, kept so that every detector can be replayed on them: for each look the gold and the
judges of many answers.

A run is trained by a recipe of the library; at every look its policy answers all held-out prompts.
Half of the settings are meant to turn and half not; whether a run has turned is decided later, from
its gold (replay.py). One .npz a run.

Where the world does not know a policy's mean gold exactly (grammar), all looks answer at the same
addresses: neighbours then share most of their luck (their gold correlates at .8), and what one
checkpoint gains over another is known ten times as well as from fresh ones.

    python -m bench.watch.collect table  --first 0 --last 300
    python -m bench.watch.collect grammar --first 0 --last 48
    python -m bench.watch.collect smollm2 --first 0 --last 12    # seven minutes a run
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import assay
from assay.core import Rng, World
from assay.worlds import cache, grammar, table
from bench.watch import pretrained

LOOKS = {"table": 100, "grammar": 30, "smollm2": pretrained.LOOKS}
JUDGED = 4  # of grammar's answers: reward models cost as much as the answers themselves
# (recipe, its arguments, world's arguments, steps after which learning stops or None, meant to
# turn)
Setting = tuple[str, dict[str, Any], dict[str, Any], int | None, bool]
CLEAN = {"pairs": 8000, "noise": 0.0, "mode": "idiosyncratic"}
TABLE: list[Setting] = [
    ("leave_one_out", {}, {"mode": "shared"}, None, True),
    ("leave_one_out", {}, {"mode": "idiosyncratic"}, None, True),
    ("leave_one_out", {}, {"testbed": "bandit", "mode": "shared"}, None, True),
    ("leave_one_out", {}, {"testbed": "bandit", "mode": "idiosyncratic"}, None, True),
    ("kl_in_reward", {"beta": 0.02}, {"mode": "shared"}, None, True),
    ("leave_one_out", {}, CLEAN, None, False),
    ("kl_in_loss", {"beta": 1.0, "learning_rate": 0.01}, {"mode": "shared"}, None, False),
    ("kl_in_loss", {"beta": 2.0, "learning_rate": 0.01}, {"mode": "idiosyncratic"}, None, False),
    ("leave_one_out", {}, {"mode": "shared"}, 12, False),
    ("leave_one_out", {}, {"testbed": "bandit", "mode": "shared"}, 15, False),
]
GRAMMAR: list[Setting] = [
    ("leave_one_out", {}, {}, None, True),
    ("kl_in_reward", {"beta": 0.02}, {}, None, True),
    ("kl_in_reward", {"beta": 1.0}, {}, None, False),
    ("leave_one_out", {}, {}, 4, False),
]
SETTINGS = {"table": TABLE, "grammar": GRAMMAR, "smollm2": pretrained.SETTINGS}
OPEN = {"table": table.world, "grammar": grammar.world, "smollm2": pretrained.world}

FOLDER = (
    cache.folder() / "bench-watch"
)  # in the cache of the library, since all of it can be made again


def place(name: str, number: int) -> Path:
    """Where run `number` of a world lies."""
    return FOLDER / f"{name}-{number:04}.npz"


def sources() -> str:
    """A digest of the library's source files, so that a result can say what it was made with."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(assay.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def setting(name: str, number: int) -> tuple[Setting, int, int]:
    """A run's setting, its world's seed and its own: settings in turn; the grammar has six worlds,
    the table and SmolLM2 one a run.
    """
    settings = SETTINGS[name]
    turn = number // len(settings)
    seeds = {"table": number, "grammar": turn % 6, "smollm2": 900 + number}
    return settings[number % len(settings)], seeds[name], 1000 + turn


def train(name: str, number: int, looks: int) -> dict[str, Any]:
    """One run and what was seen of it at looks 0 (the reference) to `looks`."""
    (recipe, constants, arguments, stop, meant), world_seed, seed = setting(name, number)
    world = OPEN[name](seed=world_seed, **arguments)
    assert world.loop is not None
    each = 2 if name == "grammar" else 1
    constants = dict(constants)
    usual = pretrained.loop(world.loop) if name == "smollm2" else world.loop
    loop = replace(
        usual,
        max_steps=looks * each if stop is None else stop,
        seed=seed,
        learning_rate=constants.pop("learning_rate", None) or usual.learning_rate,
    )
    task = world.task.replaced(rng=Rng(seed)("run"))
    verb = importlib.import_module(f"assay.recipes.{recipe}").recipe
    steps = verb(task, loop=loop, **constants)
    # the smaller the differences, the more answers it takes to know which checkpoint is the better
    # one
    several = {"table": 32 if meant else 96, "grammar": 16, "smollm2": pretrained.ANSWERS}
    answers = several[name]
    address = lambda t: Rng(seed)("watch", t if name == "table" else 0)
    seen = [look(world, task.reference, address(0), answers)]
    policy: Any = task.reference
    for t in range(1, looks + 1):
        for _ in range(each):
            step = next(steps, None)
            policy = policy if step is None else step.policy
        known = step is None and name != "table"  # the same policy at the same address
        seen.append(seen[-1] if known else look(world, policy, address(t), answers))
    out = {k: np.stack([s[k] for s in seen]) for k in seen[0]}
    if name == "smollm2":
        out["audited"] = pretrained.audited(world)
    about = {
        "world": name,
        "recipe": recipe,
        "constants": {**constants, "learning_rate": loop.learning_rate},
        "arguments": arguments,
        "stop": stop,
        "meant": meant,
        "world_seed": world_seed,
        "seed": seed,
        "each": each,
        "sources": sources(),
    }
    return {**out, "about": np.array(repr(about))}


@torch.no_grad()
def look(world: World, policy: Any, rng: Rng, answers: int) -> dict[str, Any]:
    """Gold [B,N], judges [M,B,N], and what is free: KL, entropy, length, repetition, each a mean
    with all answers. On grammar only the first JUDGED answers are judged.
    """
    prompts = world.held_out[:16] if world.name == "table" else world.held_out
    reference = world.task.reference
    if hasattr(policy, "sample_and_kl"):  # a language model is not read again
        x, each = policy.sample_and_kl(reference, prompts, answers, rng)
    else:
        x = policy.sample(prompts, answers, rng)
        each = policy.kl(reference, x)
    kl = each.mean()
    assert world.gold is not None
    few = x if world.name == "table" else x.pick(torch.arange(JUDGED).expand(len(x), -1))
    held = x.mask
    entropy = -(torch.where(held, x.logp, 0.0).sum(-1) / held.sum(-1).clamp(min=1)).mean()
    action = torch.where(held, x.action, -1 - torch.arange(x.action.shape[-1]))
    again = (action[..., :, None] == action[..., None, :]).sum((-1, -2)) - held.shape[-1]
    n = held.sum(-1)
    facts = {} if world.facts is None else world.facts(policy)
    return {
        "gold": world.gold(x)[0].numpy().astype(np.float32),
        "judges": world.task.rewards(few).numpy().astype(np.float16),
        "kl": np.float32(kl),
        "entropy": np.float32(entropy),
        "length": np.float32(n.float().mean()),
        "repetition": np.float32((again / (n * (n - 1)).clamp(min=1)).mean()),
        "exact": np.float32(facts.get("gold", math.nan)),
    }


def main(argv: list[str]) -> int:
    """Collect runs first … last − 1 that are not there yet."""
    ask = argparse.ArgumentParser()
    ask.add_argument("world", choices=tuple(OPEN))
    ask.add_argument("--first", type=int, default=0)
    ask.add_argument("--last", type=int, required=True)
    ask.add_argument("--seconds", type=float, default=math.inf)
    ask.add_argument("--models", default="models", help="smollm2: where models are kept")
    args = ask.parse_args(argv)
    os.environ["ASSAY_REAL_MODELS"] = str(Path(args.models).resolve())
    if args.world != "smollm2":
        torch.set_num_threads(1)
    began = time.monotonic()
    for number in range(args.first, args.last):
        path = place(args.world, number)
        if path.exists():
            continue
        if time.monotonic() - began > args.seconds:
            print(f"stopped before run {number}: {args.seconds:g} s are over")
            return 3
        start = time.monotonic()
        run = train(args.world, number, LOOKS[args.world])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **run)
        part.rename(path)
        gold = run["gold"].mean((1, 2))
        print(
            f"{path.name} {setting(args.world, number)[0][0]} {time.monotonic() - start:.1f} s "
            f"gold {gold[0]:.2f} peak {gold.max():.2f} at {int(gold.argmax())} end {gold[-1]:.2f} "
            f"kl {run['kl'][-1]:.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
