"""DPO under f-divergences: limits that are one another, slopes that are derivatives, the policy
that each loss is least at, extremes.
"""

from __future__ import annotations

import math

import pytest
import torch

from assay.formulas import pairwise
from assay.formulas.f_divergence import DIVERGENCES, f_dpo, slope

# f(u), as the docstring has it; α = ½
F = {
    "reverse": lambda u: u * u.log(),
    "forward": lambda u: -u.log(),
    "jensen_shannon": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    "alpha": lambda u: (u.sqrt() - 0.5 * u - 0.5) / (0.5 * -0.5),
}


def ratios(n: int = 32):
    g = torch.Generator().manual_seed(2)
    return torch.randn(2, n, dtype=torch.float64, generator=g)


def test_the_reverse_divergence_is_dpo():
    (c, r), p = ratios(), torch.rand(32, dtype=torch.float64)
    torch.testing.assert_close(
        f_dpo(c, r, beta=0.3, divergence="reverse", p=p, smoothing=0.1),
        pairwise.dpo(c, r, beta=0.3, p=p, smoothing=0.1),
    )


def test_alpha_runs_from_the_reverse_divergence_to_the_forward_one():
    c, r = ratios()

    def at(alpha: float):
        return f_dpo(c, r, beta=0.3, divergence="alpha", alpha=alpha)

    torch.testing.assert_close(
        at(1e-9), f_dpo(c, r, beta=0.3, divergence="reverse"), rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(at(1.0), f_dpo(c, r, beta=0.3, divergence="forward"))
    assert float((at(0.5) - at(1.0)).abs().max()) > 0.01


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_slopes_are_derivatives_up_to_a_constant(divergence):
    u = torch.linspace(0.05, 8, 50, dtype=torch.float64, requires_grad=True)
    want = torch.autograd.grad(F[divergence](u).sum(), u)[0]
    apart = slope(u.detach().log(), divergence=divergence) - want
    torch.testing.assert_close(apart, apart[:1].expand(50))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_each_is_least_at_the_policy_that_its_divergence_defines(divergence):
    """With rewards β·f'(π/π₀) and labels of all pairs by them, no other policy is a minimum."""
    g = torch.Generator().manual_seed(5)
    ref, best = torch.randn(2, 4, dtype=torch.float64, generator=g).log_softmax(-1)
    beta = 0.7
    reward = beta * slope(best - ref, divergence=divergence)
    i, j = torch.triu_indices(4, 4, 1)

    def gradient(logits):
        x = logits.clone().requires_grad_()
        ratio = x.log_softmax(0) - ref
        p = torch.sigmoid(reward[i] - reward[j])
        out = f_dpo(ratio[i], ratio[j], beta=beta, divergence=divergence, p=p).sum()
        return float(torch.autograd.grad(out, x)[0].abs().max())

    assert gradient(best) < 1e-12 < 1e-3 < gradient(ref + 1.2 * (best - ref))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_exchange_gradients_and_extremes(divergence):
    c, r = ratios(8)
    p = torch.rand(8, dtype=torch.float64)

    def loss(a, b, p=None):
        return f_dpo(a, b, beta=0.3, divergence=divergence, p=p)

    torch.testing.assert_close(loss(c, r, p), loss(r, c, 1 - p))
    assert torch.autograd.gradcheck(loss, (c.requires_grad_(), r.requires_grad_()))
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    out = loss(far, far.flip(0))
    assert out.isfinite().all() and torch.autograd.grad(out.sum(), far)[0].isfinite().all()


def test_jensen_shannon_pays_no_completion_without_bound():
    far = torch.tensor([50.0, 500.0], dtype=torch.float64)
    assert slope(far, divergence="jensen_shannon").abs().max() < 1e-20
    assert float(slope(far, divergence="reverse")[1]) == 500
    assert float(slope(-far[:1], divergence="jensen_shannon")) == pytest.approx(-50, abs=1e-12)


def test_jensen_shannon_by_hand():
    c, r = torch.tensor([[math.log(3.0)], [0.0]], dtype=torch.float64)
    got = float(f_dpo(c, r, beta=2.0, divergence="jensen_shannon"))
    z = 2 * (math.log(3 / 4) - math.log(1 / 2))
    assert got == pytest.approx(math.log(1 + math.exp(-z)), abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"divergence": "hellinger"}, "divergence is 'hellinger'"),
        ({"divergence": "alpha", "alpha": 0.0}, "alpha is 0.0"),
        ({"divergence": "alpha", "alpha": 1.5}, "alpha is 1.5"),
    ],
)
def test_constants_that_mean_nothing_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        f_dpo(torch.zeros(2), torch.zeros(2), beta=1.0, **arguments)
