"""Laws of every formula that takes a mask: absence, padding, order; and of every formula: pure,
annotated, explained.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import Tensor

from assay import formulas
from assay.formulas import advantage, aggregate

B, N, T = 3, 5, 4
OUTCOMES = {
    "leave_one_out": advantage.leave_one_out,
    "group_centred": advantage.group_centred,
    "group_standardised": advantage.group_standardised,
    "group_standardised 0 0": lambda r, m: advantage.group_standardised(r, m, eps=0.0, ddof=0),
    "centred": lambda r, m: aggregate.centred(r[None], m)[0],
}
STEPS = {
    "returns_to_go": lambda r, m: advantage.returns_to_go(r, m, gamma=0.9),
    "gae": lambda r, m: advantage.gae(r, torch.cat([-r, -r[..., :1]], -1), m, gamma=0.9, lam=0.8),
    "whiten": advantage.whiten,
}


def case(*shape: int) -> tuple[Tensor, Tensor]:
    x, mask = torch.randn(shape, dtype=torch.float64), torch.rand(shape) < 0.6
    mask[0] = False  # a prompt of which nothing is present
    return x, mask


@pytest.mark.parametrize("garbage", [torch.nan, 1e30, -1e30, torch.inf])
@pytest.mark.parametrize("name", [*OUTCOMES, *STEPS])
def test_what_stands_behind_the_mask_never_matters(name, garbage):
    f = {**OUTCOMES, **STEPS}[name]
    x, mask = case(*((B, N) if name in OUTCOMES else (B, N, T)))
    clean = f(torch.where(mask, x, 0.0), mask)
    assert torch.equal(f(torch.where(mask, x, garbage), mask), clean)
    assert (clean[~mask] == 0).all() and clean.isfinite().all()


@pytest.mark.parametrize("name", [*OUTCOMES, *STEPS])
def test_more_absent_answers_and_more_padding_never_matter(name):
    f = {**OUTCOMES, **STEPS}[name]
    x, mask = case(*((B, N) if name in OUTCOMES else (B, N, T)))
    more = (0, 3) if name in OUTCOMES else (0, 3, 0, 2)
    wide = f(torch.nn.functional.pad(x, more, value=torch.nan), torch.nn.functional.pad(mask, more))
    inner = wide[:, :N] if name in OUTCOMES else wide[:, :N, :T]
    torch.testing.assert_close(inner, f(x, mask), rtol=0, atol=1e-13)
    assert float(wide.abs().sum()) == pytest.approx(float(inner.abs().sum()))


@pytest.mark.parametrize("name", [*OUTCOMES, *STEPS])
def test_permuting_answers_permutes(name):
    f = {**OUTCOMES, **STEPS}[name]
    x, mask = case(*((B, N) if name in OUTCOMES else (B, N, T)))
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        f(x[:, order], mask[:, order]), f(x, mask)[:, order], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_prompt_minds_no_other_prompt(name):
    x, mask = case(B, N)
    torch.testing.assert_close(
        OUTCOMES[name](x[2:], mask[2:]), OUTCOMES[name](x, mask)[2:], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("name", STEPS)
def test_steps_pass_no_gradient_and_change_no_input(name):
    x, mask = case(B, N, T)
    before = x.clone()
    assert not STEPS[name](x.requires_grad_(), mask).requires_grad
    assert torch.equal(x.detach(), before)


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_finite_at_extremes(name):
    assert (
        STEPS[name](
            torch.tensor([[[1e30, -1e30, 1e30, 1e30]]]), torch.ones(1, 1, 4, dtype=torch.bool)
        )
        .isfinite()
        .all()
    )


def public():
    for module in pkgutil.iter_modules(formulas.__path__, "assay.formulas."):
        for name, f in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            if f.__module__ == module.name and not name.startswith("_"):
                yield pytest.param(f, id=f"{module.name.split('.')[-1]}.{name}")


@pytest.mark.parametrize("f", list(public()))
def test_every_formula_is_explained_and_takes_tensors_by_position_and_constants_by_keyword(f):
    assert f.__doc__ and len(f.__doc__) > 20
    counts = ("n", "N", "ns")  # the n of best-of-n stands where the literature writes it
    for p in inspect.signature(f).parameters.values():
        said = str(p.annotation)
        assert p.annotation is not p.empty, p
        constant = bool(
            {"float", "int"} & set(said.split(" | "))
        )  # float | Tensor: a constant that may differ by row
        if constant and p.name not in counts:
            assert p.kind is p.KEYWORD_ONLY, f"{p.name} is a constant"
        if p.default is p.empty and "Tensor" in said and not constant:
            assert p.kind is p.POSITIONAL_OR_KEYWORD, f"{p.name} is a tensor"
