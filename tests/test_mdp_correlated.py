"""The χ² penalties of correlated_proxies: the loss has the gradient that the paper means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_mdp_recipes import double, table_of
from torch import Tensor

from assay.core import Carry, Loop, Rng
from assay.engine.descend import micro_batches
from assay.formulas.occupancy import occupancy
from assay.formulas.occupancy_divergence import chi_squared, occupancy_kl
from assay.loops import updates
from assay.models.policies.markov import MarkovPolicy, acting
from assay.recipes import correlated_proxies
from assay.worlds.table import world


@pytest.mark.parametrize("over", ["occupancy", "action"])
@pytest.mark.parametrize("divergence", ["chi2", "kl"])
def test_the_step_is_the_gradient_of_the_penalised_return(
    over: str, divergence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the recipe descends, at a policy that has moved: against E[return] − λ·(√)divergence,
    differentiated exactly.
    """
    w = double(testbed="tomato", members=1)
    reference = acting(w.task.reference)
    p, base = reference.process, reference.occupancy().detach()
    S, A = reference.logits.shape
    moved = reference.logits + Rng(1).normal(
        torch.arange(S)[:, None], torch.arange(A), dtype=torch.float64
    )
    monkeypatch.setattr(MarkovPolicy, "copy", lambda self: MarkovPolicy(moved, p))
    got: list[Tensor] = []

    def caught(opt: Any, loss_of: Any, x: Any, *, reduce: Any, **_: Any) -> dict[str, float]:
        with torch.enable_grad():
            total = (loss_of(x, torch.arange(len(x))) * reduce(x.mask)).sum()
            got.append(torch.autograd.grad(total, opt.parameters[0])[0])
        return {"loss": 0.0, "grad_norm": 0.0, "skipped": 0.0}

    monkeypatch.setattr(updates, "descend", caught)
    task = w.task.replaced(carry=Carry())
    next(
        correlated_proxies.recipe(
            task,
            of=over,
            divergence=divergence,
            lam=2.0,
            loop=Loop(max_steps=1, batch_size=18, num_generations=1500),
        )
    )

    R, logits = table_of(w)[0], moved.clone().requires_grad_(True)
    deviation = float((base * (R - (base * R).sum()).square()).sum().sqrt())
    mu = occupancy(logits.softmax(-1), p.P, p.start, horizon=p.horizon)
    if over == "occupancy":
        size = chi_squared(mu, base).sqrt() if divergence == "chi2" else occupancy_kl(mu, base)
    else:
        ratio = logits.log_softmax(-1) - reference.logits.log_softmax(-1)
        each = (logits.softmax(-1) * (ratio.exp() - 1 if divergence == "chi2" else ratio)).sum(-1)
        size = (
            (mu.sum(-1) * each).sum().sqrt() if divergence == "chi2" else (mu.sum(-1) * each).sum()
        )
    (want,) = torch.autograd.grad(-p.horizon * ((mu * R).sum() - 2.0 * deviation * size), logits)
    cosine = float((got[0] * want).sum() / (got[0].norm() * want.norm()))
    assert cosine > 0.985 and float(got[0].norm() / want.norm()) == pytest.approx(1, abs=0.06)


def test_the_released_loss_is_half_of_chi_squared_and_the_forward_kl() -> None:
    """E_π of the gradient of w + 1/w with answers held fixed = ½∇χ² + ∇KL(π₀‖π), eight answers."""
    base, logits = (
        torch.randn(8).double().log_softmax(-1),
        torch.randn(8).double().requires_grad_(True),
    )
    lp = logits.log_softmax(-1)
    l = lp - base
    held = lp.exp().detach()
    (got,) = torch.autograd.grad(
        (held * (correlated_proxies.continued_exp(l) + correlated_proxies.continued_exp(-l))).sum(),
        logits,
        retain_graph=True,
    )
    chi2, forward = (lp.exp() * (l.exp() - 1)).sum(), (base.exp() * -l).sum()
    (half,) = torch.autograd.grad(0.5 * chi2 + forward, logits)
    torch.testing.assert_close(got, half)
    far = torch.tensor([10.0, 11.0, -12.0], dtype=torch.float64, requires_grad=True)
    e, edge = (
        correlated_proxies.continued_exp(far),
        torch.tensor([10.0, 10.0, -10.0]).double().exp(),
    )
    torch.testing.assert_close(e.detach(), edge * torch.tensor([1.0, 2.0, -1.0]).double())
    torch.testing.assert_close(torch.autograd.grad(e.sum(), far)[0], edge)


def test_the_released_root_is_the_whole_batch_s_however_it_is_divided() -> None:
    """√χ̂² is no sum over answers: taken of each micro-batch it would be another loss."""
    logits = []
    for micro in (0, 1):
        w = world(testbed="bag", seed=0, members=1, pairs=20, demos=5)
        w.task.reference.double()  # type: ignore[attr-defined]
        task = w.task.replaced(carry=Carry())
        with micro_batches(micro):
            steps = list(
                correlated_proxies.recipe(
                    task,
                    of="sequence",
                    lam=3.0,
                    released=True,
                    loop=Loop(max_steps=3, batch_size=4, num_generations=4, learning_rate=0.05),
                )
            )
        logits.append(torch.cat([p.detach().flatten() for p in steps[-1].policy.parameters()]))  # type: ignore[union-attr]
    torch.testing.assert_close(*logits, atol=1e-6, rtol=0)


def test_the_discriminator_finds_the_ratio_of_occupancies() -> None:
    w = double(testbed="tomato", members=1)
    reference = acting(w.task.reference)
    S, A = reference.logits.shape
    policy = MarkovPolicy(
        reference.logits + 0.5 * Rng(2).normal(torch.arange(S)[:, None], torch.arange(A)),
        reference.process,
    )
    critic = correlated_proxies._Discriminator(reference.logits)
    x, base = (q.sample(w.task.prompts, 300, Rng(i)) for i, q in enumerate((policy, reference)))
    critic.fit(x, base, 1.0, Loop(learning_rate=0.15).optimiser(critic), 60)
    want = (policy.occupancy() / reference.occupancy()).log().detach()
    error = ((critic.d.detach() - want).abs() * reference.occupancy().detach()).sum()
    assert float(error) < 0.1 < float((want.abs() * reference.occupancy().detach()).sum())


# ---- behaviour alignment
