"""How completions are picked, widened and joined."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from assay.core import InputError, Pairs, Rng, Samples, cat
from assay.models.policies.table import TablePolicy

REFERENCE = TablePolicy(torch.zeros(5, 3), length=4)


def drawn(rows: list[int], n: int | list[int] = 3, seed: int = 0) -> Samples:
    prompts = REFERENCE.prompts(torch.tensor(rows))
    return REFERENCE.sample(
        prompts, n if isinstance(n, int) else torch.tensor(n), Rng(seed)("sample")
    )


def test_pick_takes_answers_with_everything_they_have() -> None:
    x = drawn([0, 4], [3, 2])
    x = replace(x, extra={"noise": torch.arange(12.0).reshape(2, 3, 2)})
    y = x.pick(torch.tensor([[2, 0], [1, 1]]))
    for b, n, source in ((0, 0, 2), (0, 1, 0), (1, 0, 1), (1, 1, 1)):
        for part in ("action", "mask", "given", "logp", "ended"):
            assert torch.equal(getattr(y, part)[b, n], getattr(x, part)[b, source])
        assert torch.equal(y.extra["noise"][b, n], x.extra["noise"][b, source])
    assert y.prompts is x.prompts


def test_widening_adds_decisions_that_are_none() -> None:
    x = drawn([0, 4])
    wide = x.widened(9)
    assert (
        wide.mask.shape == (2, 3, 9)
        and torch.equal(wide.lengths, x.lengths)
        and wide.text() == x.text()
    )
    assert x.widened(2) is x


def test_batches_of_different_widths_are_joined() -> None:
    x, y = drawn([0, 4]), drawn([1], seed=2).widened(7)
    more = {"tokens": torch.tensor([[7, 5]]), "mask": torch.tensor([[True, True]])}
    z = replace(y, prompts=replace(y.prompts, **more))
    both = cat([x, z])
    assert both.mask.shape == (3, 3, 7) and both.text() == x.text() + z.text()
    assert both.prompts.text() == x.prompts.text() + z.prompts.text()
    assert not both.prompts.mask[0, 0] and both.prompts.mask[2].all()


def test_pairs_are_joined_with_their_labels() -> None:
    def pairs(rows: list[int]) -> Pairs:
        x, value = drawn(rows, 2), torch.tensor(rows)
        return Pairs(
            x.prompts, x.action, x.mask, x.given, x.logp, x.ended, p=value / 10, margin=value * 1.0
        )

    both = cat([pairs([1, 2]), pairs([3])])
    assert isinstance(both, Pairs) and torch.equal(both.p, torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(both[1:].margin, torch.tensor([2.0, 3.0]))


def test_pairs_need_a_label_each() -> None:
    x = drawn([0, 1], 2)
    with pytest.raises(InputError, match=r"pairs need p and margin of shape \[2\]"):
        Pairs(
            x.prompts,
            x.action,
            x.mask,
            x.given,
            x.logp,
            x.ended,
            p=torch.ones(3),
            margin=torch.zeros(2),
        )


def test_weights_are_equal_over_those_present_or_those_given() -> None:
    x = drawn([0, 4], [3, 1])
    torch.testing.assert_close(x.weight, torch.tensor([[1 / 3] * 3, [1.0, 0.0, 0.0]]))
    given = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert torch.equal(replace(x, extra={"weight": given}).weight, given)


def test_rows_are_taken_together() -> None:
    x = drawn([0, 4, 2])
    y = x[torch.tensor([2, 0])]
    assert (
        torch.equal(y.prompts.row, torch.tensor([2, 0]))
        and torch.equal(y.action, x.action[[2, 0]])
        and len(y) == 2
    )
