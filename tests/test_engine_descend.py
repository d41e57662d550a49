"""The only backward(): one pass of eight rows, eight of one and two processes are the same step."""

from __future__ import annotations

import itertools
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Loop, Optimiser, Rng
from assay.core.samples import Samples
from assay.engine.descend import descend, micro_batches
from assay.engine.parallel import meter
from assay.errors import InputError, NotFinite
from assay.formulas.reduce import (
    per_completion,
    per_completion_once,
    per_completion_token,
    per_pair,
    per_token,
)
from assay.models.policies.table import TablePolicy


def start() -> tuple[TablePolicy, Optimiser, Samples]:
    reference = TablePolicy(torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(8, 5), length=3)
    x = reference.sample(
        reference.prompts(torch.arange(8)), torch.tensor([4, 1, 2, 4, 3, 4, 2, 4]), Rng(0)("sample")
    )
    mask = x.mask.clone()
    mask[0, 0, 1:] = False  # answers of different lengths, so that the reductions differ
    policy = reference.copy()
    return policy, Loop(learning_rate=0.1, warmup_steps=2).optimiser(policy), replace(x, mask=mask)


def each(policy: TablePolicy) -> Callable[[Samples, Tensor], Tensor]:
    worth = torch.arange(8 * 4, dtype=torch.float64).view(8, 4, 1)
    return lambda rows, i: policy.logp(rows) * (worth[i] + 1.0)


def trajectory(
    micro: int,
    reduce: Callable[[Tensor], Tensor],
    rows: Tensor | None = None,
    split: Any = "prompts",
) -> Tensor:
    policy, opt, x = start()
    out = []
    how: dict[str, Any] = {"reduce": reduce, "rows": rows, "split": split}
    with micro_batches(micro):
        for _ in range(4):
            loss = each(policy)
            if reduce is per_completion_once:
                descend(opt, lambda r, i, f=loss: f(r, i).sum(-1), x, **how)
            elif reduce is per_pair:
                descend(opt, lambda r, i, f=loss: f(r, i).sum((-1, -2)), x, **how)
            else:
                descend(opt, loss, x, **how)
            out.append(policy.logits.detach().clone())
    return torch.stack(out)


@pytest.mark.parametrize("rows", [None, torch.tensor([6, 1, 3, 0, 2])], ids=["batch", "minibatch"])
@pytest.mark.parametrize(
    "reduce", [per_completion, per_token, per_completion_token, per_completion_once, per_pair]
)
def test_micro_batches_are_the_same_step(
    reduce: Callable[[Tensor], Tensor], rows: Tensor | None
) -> None:
    whole = trajectory(0, reduce, rows)
    assert float((whole[-1] - whole[0]).abs().max()) > 0.05
    splits = ("prompts",) if reduce is per_pair else ("prompts", "completions")
    for micro, split in itertools.product((1, 3, 8, 12), splits):
        pieces = trajectory(micro, reduce, rows, split)
        torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)


def sizes(micro: int, split: Any) -> list[tuple[int, int]]:
    """Prompts and completions of each pass over 8 prompts with 4 completions."""
    policy, opt, x = start()
    seen = []

    def loss(r: Samples, i: Tensor) -> Tensor:
        seen.append(tuple(r.mask.shape[:2]))
        return policy.logp(r)

    with micro_batches(micro):
        descend(opt, loss, x, reduce=per_token, split=split)
    return seen


def test_a_pass_is_counted_in_completions() -> None:
    assert sizes(0, "completions") == sizes(0, "prompts") == [(8, 4)]
    assert sizes(1, "completions") == [(1, 1)] * 32 and sizes(1, "prompts") == [(1, 4)] * 8
    assert sizes(3, "completions") == [(1, 3), (1, 1)] * 8 and sizes(3, "prompts") == [(1, 4)] * 8
    assert sizes(13, "completions") == sizes(13, "prompts") == [(3, 4), (3, 4), (2, 4)]


def test_a_piece_of_a_prompt_brings_its_own_index() -> None:
    policy, opt, x = start()
    rows, places = torch.tensor([5, 2]), torch.arange(8 * 4).view(8, 4)
    seen = torch.zeros(8, 4)

    def loss(r: Samples, i: Tensor) -> Tensor:
        assert torch.equal(x.action[i], r.action) and torch.equal(x.logp[i], r.logp)
        seen.view(-1)[places[i].flatten()] += 1
        return policy.logp(r)

    with micro_batches(3):
        descend(opt, loss, x, reduce=per_token, rows=rows, split="completions")
    assert seen.sum(1).tolist() == [0, 0, 4, 0, 0, 4, 0, 0] and float(seen.max()) == 1


def test_a_minibatch_knows_its_rows_and_has_its_own_denominator() -> None:
    policy, opt, x = start()
    rows, seen = torch.tensor([5, 2]), []

    def loss(r: Samples, i: Tensor) -> Tensor:
        seen.extend(zip(i.tolist(), r.prompts.row.tolist(), strict=True))
        return policy.logp(r) * 0 + 1.0

    out = descend(opt, loss, x, reduce=per_token, rows=rows)
    assert seen == [(5, 5), (2, 2)] and out["loss"] == pytest.approx(1.0)


def test_the_gradient_is_that_of_the_weighted_sum() -> None:
    policy, opt, x = start()
    expected = torch.autograd.grad((policy.logp(x) * per_completion(x.mask)).sum(), policy.logits)[
        0
    ]
    before = policy.logits.detach().clone()
    out = descend(opt, lambda r, i: policy.logp(r), x, reduce=per_completion)
    assert out["grad_norm"] == pytest.approx(float(expected.norm()), rel=1e-12)
    moved = policy.logits.detach() - before
    assert torch.equal(
        moved.sign(), -expected.sign()
    )  # Adam's first step is the sign, its size half the rate (warm-up)
    assert float(moved.abs().max()) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(
    bad: float, caplog: pytest.LogCaptureFixture
) -> None:
    policy, opt, x = start()
    descend(opt, each(policy), x, reduce=per_completion)
    logits, state, spent = (
        policy.logits.detach().clone(),
        repr(opt.state_dict()),
        meter.counts["updates"],
    )
    with caplog.at_level(logging.WARNING, logger="assay"):
        out = descend(opt, lambda r, i: policy.logp(r) * bad, x, reduce=per_completion)
    assert out["skipped"] == 1 and "skipped: it is not finite" in caplog.text
    assert (
        torch.equal(policy.logits, logits)
        and repr(opt.state_dict()) == state
        and meter.counts["updates"] == spent
    )
    with micro_batches(0, strict=True), pytest.raises(NotFinite, match="a step is not finite"):
        descend(opt, lambda r, i: policy.logp(r) * bad, x, reduce=per_completion)
    assert descend(opt, each(policy), x, reduce=per_completion)["skipped"] == 0


def test_what_is_masked_may_be_nan() -> None:
    policy, opt, x = start()
    twin, twin_opt, _ = start()
    unknown = torch.where(x.mask, 1.0, float("nan")).double()
    descend(
        opt, lambda r, i: torch.where(r.mask, policy.logp(r), unknown[i]), x, reduce=per_completion
    )
    descend(twin_opt, lambda r, i: twin.logp(r), x, reduce=per_completion)
    assert torch.equal(policy.logits, twin.logits)


def test_a_reduced_loss_is_refused() -> None:
    policy, opt, x = start()
    with pytest.raises(
        InputError, match=r"shape \[\] and its weights \[8, 4, 3\]: a loss is never reduced"
    ):
        descend(opt, lambda r, i: policy.logp(r).mean(), x, reduce=per_completion)
    with pytest.raises(InputError, match=r"shape \[8, 4, 1\]"):
        descend(opt, lambda r, i: policy.logp(r).sum(-1, keepdim=True), x, reduce=per_completion)


def test_an_update_is_counted_once() -> None:
    policy, opt, x = start()
    before = meter.counts["updates"]
    with micro_batches(1):
        descend(opt, each(policy), x, reduce=per_completion)
    assert meter.counts["updates"] == before + 1 and opt.updates == 1


def test_two_processes_are_one() -> None:
    """Uneven shares of 7 rows, and 1 row that both processes do whole; drawn and judged answers are
    counted alike.
    """
    script = [sys.executable, str(Path(__file__).with_name("descend_script.py"))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    there = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
    }
    there["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    both = [
        subprocess.Popen(script, env={**there, "RANK": str(r)}, stdout=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    told = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0] and told[1] == ""

    from descend_script import train

    for rows, got in zip((7, 1), json.loads(told[0]), strict=True):
        alone = train(rows)
        torch.testing.assert_close(
            torch.tensor(got["logits"]), torch.tensor(alone["logits"]), rtol=1e-10, atol=1e-12
        )
        torch.testing.assert_close(
            torch.tensor(got["losses"]), torch.tensor(alone["losses"]), rtol=1e-10, atol=1e-12
        )
        assert got["counts"] == alone["counts"]
