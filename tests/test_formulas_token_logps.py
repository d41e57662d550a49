"""Log-probabilities of token_logps tokens in blocks: the plain form's numbers and gradients, in a
fraction of its memory.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from peak import peak

from assay.core.rng import Rng
from assay.formulas import token_logps as module
from assay.formulas.token_logps import LogitTransform, token_logps


def problem(
    n: int, V: int, W: int, *, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """hidden, weight, bias, taken, and what the loss asks of each decision."""
    rng, i = Rng(seed), torch.arange
    h = rng("h").normal(i(n)[:, None], i(W), dtype=torch.float64)
    w = 0.5 * rng("w").normal(i(V)[:, None], i(W), dtype=torch.float64)
    b = rng("b").normal(i(V), dtype=torch.float64)
    taken, up = rng("t").integers(V, i(n)), rng("u").normal(i(n), dtype=torch.float64)
    return h.to(dtype), w.to(dtype), b.to(dtype), taken, up.to(dtype)


def plain(
    h: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None,
    taken: torch.Tensor,
    transform: LogitTransform,
    early: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.nn.functional.linear(h, w, b) * transform.scale
    x = x if not transform.softcap else torch.tanh(x / transform.softcap) * transform.softcap
    barred = torch.zeros(x.shape, dtype=torch.bool)
    barred[:, list(transform.suppressed)] = True
    if early is not None:
        barred[:, list(transform.suppressed_early)] |= early[:, None]
    logp = (x / transform.temperature).masked_fill(barred, -torch.inf).log_softmax(-1)
    spread = -torch.where(logp > -torch.inf, logp.exp() * logp, 0.0).sum(-1)
    return logp.gather(1, taken[:, None])[:, 0], spread


LAWS = [
    LogitTransform(),
    LogitTransform(temperature=0.7),
    LogitTransform(scale=0.5, temperature=1.3, suppressed=(0, 5, 36)),
    LogitTransform(softcap=2.0),
    LogitTransform(
        softcap=1.5, scale=2.0, temperature=0.8, suppressed=(1,), suppressed_early=(3, 20)
    ),
]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transform", LAWS)
def test_it_is_the_plain_form_with_its_gradients(
    monkeypatch: pytest.MonkeyPatch, transform: LogitTransform, bias: bool, frozen: bool
) -> None:
    monkeypatch.setattr(module, "_ROWS", 4)
    monkeypatch.setattr(
        module, "_BLOCK", 20
    )  # blocks of four decisions and five tokens, the last ones smaller
    h, w, b, taken, up = problem(11, 37, 6)
    early = torch.arange(11) % 3 == 0 if transform.suppressed_early else None
    taken = torch.where(
        torch.isin(taken, torch.tensor([*transform.suppressed, *transform.suppressed_early])),
        7,
        taken,
    )
    found: list[Any] = []
    for form in ("plain", "blocks"):
        leaves = [
            h.clone().requires_grad_(),
            w.clone().requires_grad_(not frozen),
            b.clone().requires_grad_(not frozen),
        ]
        offset = leaves[2] if bias else None
        logp, spread = (
            plain(leaves[0], leaves[1], offset, taken, transform, early)
            if form == "plain"
            else token_logps(
                leaves[0],
                leaves[1],
                taken,
                bias=offset,
                transform=transform,
                early=early,
                entropy=True,
            )
        )
        (logp * up).sum().backward()
        found.append([logp.detach(), spread.detach(), *(p.grad for p in leaves)])
    assert not found[1][1].requires_grad
    for a, c in zip(*found, strict=True):
        assert (a is None) == (c is None) and (a is None or torch.allclose(a, c, atol=1e-12))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_barred_token_has_no_probability_and_moves_nothing_it_should_not(frozen: bool) -> None:
    h, w, _, _, up = problem(5, 9, 4)
    transform, taken = (
        LogitTransform(suppressed=(2,), suppressed_early=(3,)),
        torch.tensor([2, 3, 3, 4, 2]),
    )
    early = torch.tensor([False, True, False, False, True])
    one, other = (
        [x.clone().requires_grad_(not frozen or i == 0) for i, x in enumerate((h, w))]
        for _ in range(2)
    )
    mine = token_logps(one[0], one[1], taken, transform=transform, early=early)
    theirs, _ = plain(other[0], other[1], None, taken, transform, early)
    assert torch.equal(
        mine.isinf(), torch.tensor([True, True, False, False, True])
    ) and torch.allclose(mine, theirs)
    for logp in (mine, theirs):
        torch.where(logp.isfinite(), logp * up, 0.0).sum().backward()
    for a, b in zip(one, other, strict=True):
        assert (a.grad is None) == (b.grad is None) == (frozen and a is one[1])
        assert (
            a.grad is None
            or b.grad is None
            or (torch.allclose(a.grad, b.grad) and bool(a.grad.isfinite().all()))
        )


def test_huge_logits_and_a_block_that_is_barred_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 9)
    h, w, _, taken, _ = problem(3, 12, 4)
    transform, taken = LogitTransform(suppressed=(0, 1, 2)), taken.clamp(min=3)
    out = token_logps(1e4 * h, w, taken, transform=transform)
    assert torch.allclose(out, plain(1e4 * h, w, None, taken, transform, None)[0]) and bool(
        out.isfinite().all()
    )


def test_bfloat16_products_are_added_up_in_float32() -> None:
    h, w, _, taken, up = problem(64, 3000, 32, dtype=torch.bfloat16)
    found = []
    for form in (0, 1):
        a, b = h.float().requires_grad_(), w.clone().requires_grad_()
        if form:
            logp = token_logps(a, b, taken)
        else:
            logp = (
                torch.nn.functional.linear(a.bfloat16(), b)
                .float()
                .log_softmax(-1)
                .gather(1, taken[:, None])[:, 0]
            )
        (logp * up.float()).sum().backward()
        found.append((logp.detach(), a.grad, b.grad))
    assert found[1][0].dtype == torch.float32 and torch.allclose(
        found[0][0], found[1][0], atol=1e-5
    )
    for x, y in zip(found[0][1:], found[1][1:], strict=True):
        assert x is not None and y is not None and float((x - y).norm() / x.norm()) < 0.01


def step(form: str, h: torch.Tensor, w: torch.Tensor, taken: torch.Tensor, *, frozen: bool) -> None:
    a, b = h.clone().requires_grad_(), w.detach().requires_grad_(not frozen)
    if form == "plain":
        logp = torch.nn.functional.linear(a, b).log_softmax(-1).gather(1, taken[:, None])[:, 0]
    else:
        logp = token_logps(a, b, taken)
    logp.sum().backward()
    b.grad = None


@pytest.mark.parametrize(("V", "n", "share"), [(50_000, 640, 1 / 4), (131_072, 512, 1 / 8)])
def test_memory_forward_and_backward(V: int, n: int, share: float) -> None:
    """At a vocabulary of 50,000 the peak is a quarter of the plain form's, at 128k an eighth."""
    h, w, _, taken, _ = problem(n, 8, 64, dtype=torch.float32)
    w, taken = w.repeat(V // 8, 1), taken * (V // 8)
    most = {
        form: peak(functools.partial(step, form, h, w, taken, frozen=False))
        for form in ("plain", "blocks")
    }
    assert most["plain"] >= 3 * 4 * n * V and most["blocks"] < share * most["plain"]
    less = peak(functools.partial(step, "blocks", h, w, taken, frozen=True))
    assert less < most["plain"] / 20, (
        "where the head is not trained, nothing of the vocabulary's size is kept"
    )
