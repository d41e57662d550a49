"""A recipe's memory on disk: what goes in comes out, damage is said in one sentence, a kill loses
nothing that was there.
"""

from __future__ import annotations

import math
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import Loop, Rng
from assay.core.samples import Pairs, Samples
from assay.engine import checkpoint as disk
from assay.engine.checkpoint import Carry
from assay.errors import InputError
from assay.models.policies.table import TablePolicy


def same(a: Any, b: Any) -> bool:
    """Equal in type and value, all the way down; tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and torch.equal(a, b)
        )
    if isinstance(a, dict):
        return (
            type(a) is type(b)
            and [*map(repr, a)] == [*map(repr, b)]
            and all(same(a[k], b[k]) for k in a)
        )
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def table() -> TablePolicy:
    return TablePolicy(torch.linspace(-1, 1, 12).reshape(3, 4), length=2)


def samples() -> Samples:
    policy = table()
    return policy.sample(
        policy.prompts(torch.tensor([2, 0, 1])), torch.tensor([2, 1, 2]), Rng(0)("sample")
    )


NESTED = {
    "numbers": [0, -3, 2**60, 0.1, math.inf, math.nan, True, None, 'äß " \n'],
    "integer keys": {0: "zero", 1: {7: [1.5]}, "1": "one"},
    "tuples": ((1, 2), [(3,), ()], {(1, "a"): "key"}),
    "tensors": [
        torch.ones(2, 0),
        torch.tensor(3),
        torch.eye(3)[:, 1:].T,
        torch.tensor([True, False]),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.tensor([0.1], dtype=torch.float64),
    ],
    "$t": {"$d": "names that the file itself uses", "$r": 1},
    "empty": [[], {}, ()],
}


def test_nested_values_come_back(tmp_path: Path) -> None:
    disk.save(tmp_path / "c", NESTED)
    assert same(NESTED, disk.load(tmp_path / "c"))


def test_tensors_that_share_memory_come_back(tmp_path: Path) -> None:
    x = torch.arange(6.0)
    disk.save(tmp_path / "c", {"x": x, "again": x, "part": x[2:4]})
    assert same({"x": x, "again": x, "part": x[2:4]}, disk.load(tmp_path / "c"))


def test_samples_come_back_with_their_text(tmp_path: Path) -> None:
    x = samples()
    disk.save(tmp_path / "c", {"x": x, "list": [x]})
    y = disk.load(tmp_path / "c", decode=x.prompts.decode)
    for got in (y["x"], y["list"][0]):
        assert (
            isinstance(got, Samples)
            and got.text() == x.text()
            and got.prompts.text() == x.prompts.text()
        )
        assert (
            torch.equal(got.logp, x.logp)
            and torch.equal(got.mask, x.mask)
            and torch.equal(got.ended, x.ended)
        )


def test_pairs_come_back_as_pairs(tmp_path: Path) -> None:
    x = samples()
    pairs = Pairs(
        x.prompts,
        x.action,
        x.mask,
        x.given,
        x.logp,
        x.ended,
        {"e": torch.ones(3, 2)},
        torch.tensor([1.0, 0.9, 1.0]),
        torch.zeros(3),
    )
    disk.save(tmp_path / "c", pairs)
    got = disk.load(tmp_path / "c")
    assert (
        isinstance(got, Pairs)
        and torch.equal(got.p, pairs.p)
        and torch.equal(got.extra["e"], pairs.extra["e"])
    )


def test_what_cannot_be_held_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a carry cannot hold a Rng"):
        disk.save(tmp_path / "c", {"rng": Rng(0)})
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_carry_is_the_one_that_was_saved(tmp_path: Path) -> None:
    def run(carry: Carry, until: int) -> list[float]:
        policy = table().copy()
        opt = Loop(learning_rate=0.1, warmup_steps=3).optimiser(policy)
        carry.keep(policy=policy, opt=opt, best={0: math.inf}, seen=[])
        for t in carry.steps(6):
            opt.zero_grad()
            (policy.logits[0, 0] - t).square().backward()
            opt.step(opt.norm())
            carry.best[t] = float(policy.logits.detach().sum())
            carry.seen.append(samples())
            if t + 1 == until:
                break
        return [
            *policy.logits.detach().flatten().tolist(),
            *carry.best.values(),
            len(carry.seen),
            opt.updates,
        ]

    carry = Carry()
    run(carry, until=2)
    disk.save(tmp_path / "c", carry.state())
    resumed = Carry(disk.load(tmp_path / "c", samples().prompts.decode), samples().prompts.decode)
    assert resumed.next == 2 and run(resumed, until=6) == run(Carry(), until=6)


def test_a_carry_keeps_its_own_names() -> None:
    with pytest.raises(ValueError, match="own use for the name 'next'"):
        Carry().keep(next=3)


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 100, -1])
def test_a_file_cut_short_is_an_input_error(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "carry.safetensors"
    disk.save(path, NESTED)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        InputError, match=r"carry\.safetensors is damaged .*; restore it .* delete it"
    ):
        disk.load(path)


def test_overwritten_bytes_never_end_in_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "c"
    disk.save(path, {**NESTED, "x": samples()})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = Rng(0)("place").integers(header, torch.arange(300)).tolist()
    values = Rng(0)("value").integers(256, torch.arange(300)).tolist()
    refused = 0
    for place, value in zip(places, values, strict=True):
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        try:
            disk.load(path)
        except InputError:
            refused += 1
    assert refused > 100


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "c"
    for content in (b"", b"{}", pickle.dumps({"a": 1}), b"\x00" * 64):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            disk.load(path)


def test_killed_between_write_and_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c"
    disk.save(path, {"step": 1})
    script = (
        "import os, signal, sys, pathlib; from assay.engine import atomic, checkpoint as carry\n"
        "atomic.os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "carry.save(pathlib.Path(sys.argv[1]), {'step': 2})"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert disk.load(path) == {"step": 1}
    disk.save(path, {"step": 3})
    assert disk.load(path) == {"step": 3}
