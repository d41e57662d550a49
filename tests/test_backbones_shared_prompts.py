"""Attention over shared prompts gives what each answer's own softmax gives, its gradients too,
however rows are laid.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from assay.core.rng import Rng
from assay.models.backbones import shared_prompts
from assay.models.backbones.matmul import roomy
from assay.models.backbones.shared_prompts import Shared

PROMPT = torch.tensor([[0, 1, 1], [1, 1, 1]]).bool()
ANSWER = torch.tensor([[[1, 1, 0, 0], [1, 0, 1, 1]], [[0, 0, 0, 0], [1, 1, 1, 1]]]).bool()


def inputs(H: int, K: int, d: int = 4) -> tuple[Tensor, Tensor]:
    n = roomy(int(PROMPT.sum() + ANSWER.sum()))
    return tuple(
        Rng(1)(name)
        .normal(torch.arange(n)[:, None, None], torch.arange(heads)[:, None], torch.arange(d))  # type: ignore[return-value]
        .double()
        .requires_grad_()
        for name, heads in (("qk", H + K), ("v", K))
    )


def by_hand(qk: Tensor, v: Tensor) -> Tensor:
    """One token after another: softmax over the prompt and the completion up to the token."""
    K = v.shape[1]
    H = qk.shape[1] - K
    sees: list[list[int]] = []
    prompts, at = [], 0
    for row in PROMPT:
        prompts.append(list(range(at, at := at + int(row.sum()))))
        sees += [prompts[-1][: i + 1] for i in range(len(prompts[-1]))]
    for b, answers in enumerate(ANSWER):
        for row in answers:
            own = list(range(at, at := at + int(row.sum())))
            sees += [prompts[b] + own[: i + 1] for i in range(len(own))]
    out = []
    for token, seen in enumerate(sees):
        for h in range(H):
            k = h // (H // K)
            weight = (qk[seen, H + k] @ qk[token, h]).softmax(0)
            out.append(weight @ v[seen, k])
    nobody = torch.zeros(len(qk) - len(sees), H * v.shape[2], dtype=v.dtype)
    return torch.cat([torch.stack(out).view(len(sees), -1), nobody])


@pytest.mark.parametrize(("heads", "kv"), [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("repeat", [4, 0])
def test_every_answer_attends_as_if_alone(
    heads: int, kv: int, repeat: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shared_prompts, "_REPEAT", repeat
    )  # 0: prompts' keys are never laid beside answers'
    qk, v = inputs(heads, kv)
    plan = Shared(PROMPT, ANSWER, torch.float64)
    mine, want = plan(0, qk, v), by_hand(qk, v)
    torch.testing.assert_close(mine, want)
    g = Rng(2).normal(torch.arange(want.numel())).double().view_as(want)
    for a, b in zip(
        torch.autograd.grad(mine, (qk, v), g), torch.autograd.grad(want, (qk, v), g), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_gradients_of_gradients() -> None:
    qk, v = inputs(2, 1, 2)
    plan = Shared(PROMPT, ANSWER, torch.float64)
    assert torch.autograd.gradcheck(lambda qk, v: plan(0, qk, v), (qk, v))
    assert torch.autograd.gradgradcheck(lambda qk, v: plan(0, qk, v), (qk, v))
    for frozen in range(2):  # a layer of which one part is not trained
        inputs_ = [t.detach().requires_grad_(i != frozen) for i, t in enumerate((qk, v))]
        assert torch.autograd.gradgradcheck(lambda *t: plan(0, *t), inputs_)


def test_prompts_without_answers() -> None:
    plan = Shared(PROMPT, torch.zeros(2, 3, 2, dtype=torch.bool), torch.float64)
    qk, v = (t[: roomy(int(PROMPT.sum()))] for t in inputs(2, 2))
    torch.testing.assert_close(plan(0, qk, v), plan.plain(qk, v))
    torch.testing.assert_close(
        torch.autograd.grad(plan(0, qk, v).sum(), qk),
        torch.autograd.grad(plan.plain(qk, v).sum(), qk),
    )
    nothing = Shared(
        torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0, 2, 4, dtype=torch.bool), torch.float64
    )
    assert nothing(0, torch.zeros(0, 4, 6), torch.zeros(0, 2, 6)).shape == (0, 12)


def test_sizes_are_few_and_hardly_larger() -> None:
    found = [roomy(n) for n in range(5000)]
    assert found[0] == 0
    assert all(n <= r < n + 16 for n, r in enumerate(found[:256]))
    assert all(n <= r <= n * 17 / 16 for n, r in enumerate(found) if n >= 256)
    assert len(set(found[2500:])) < 30
