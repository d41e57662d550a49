"""Tasks side by side give what they give in turn, in order, and leave the number of threads and the
gradient mode alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from assay.engine.descend import descend
from assay.engine.optimiser import Optimiser
from assay.engine.threads import together
from assay.formulas.reduce import per_pair


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("grad", [True, False])
def test_results_in_order_and_nothing_else_changed(grad: bool) -> None:
    def task(i: int) -> tuple[int, int, bool]:
        return i, torch.get_num_threads(), torch.is_grad_enabled()

    with torch.set_grad_enabled(grad):
        found = together([lambda i=i: task(i) for i in range(5)])
        assert torch.is_grad_enabled() is grad
    assert found == [(0, 1, grad), (1, 1, grad), (2, 1, grad), (3, 1, grad), (4, 2, grad)]
    assert torch.get_num_threads() == 2
    assert together([]) == []


def test_an_error_is_raised_when_nobody_is_at_work_any_more() -> None:
    done = []

    def bad() -> int:
        raise ValueError("this one")

    def slow() -> int:
        time.sleep(0.2)
        done.append(1)
        return 1

    with pytest.raises(ValueError, match="this one"):
        together([bad, slow])
    assert done == [1]


def test_threads_that_are_started_later_begin_with_all() -> None:
    together([lambda: 1, lambda: 2])
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [2]


def test_tasks_within_tasks_follow_one_another() -> None:
    assert together([lambda i=i: sum(together([lambda: i, lambda: 10])) for i in range(4)]) == [
        10,
        11,
        12,
        13,
    ]


def test_autocast_holds_for_all_or_none() -> None:
    x = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert [y.dtype for y in together([lambda: x @ x] * 3)] == [torch.bfloat16] * 3


class Rows:
    """Six pairs."""

    mask = torch.ones(6, 2, 1, dtype=torch.bool)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, rows: Tensor) -> Rows:
        return self


def test_losses_that_share_nothing_are_one_step() -> None:
    x = torch.randn(6, 4)

    def stepped(split: bool) -> list[Tensor]:
        weights = [torch.full((4,), float(m), requires_grad=True) for m in range(3)]
        opt = Optimiser(weights, lr=0.1, clip=1.0)
        losses = [lambda w=w: (x @ w - 1).square() for w in weights]
        said = descend(
            opt, lambda *_: losses if split else sum(f() for f in losses), Rows(), reduce=per_pair
        )
        return [
            *(w.detach() for w in weights),
            torch.tensor(said["loss"]),
            torch.tensor(said["grad_norm"]),
        ]

    for a, b in zip(stepped(True), stepped(False), strict=True):
        torch.testing.assert_close(a, b)
