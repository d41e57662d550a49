"""The annotations of the formulas run in tests: a wrong shape is refused where it is passed, not
where it explodes.
"""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from assay.formulas import advantage, aggregate


def test_a_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError):
        advantage.leave_one_out(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(TypeCheckError):
        advantage.gae(
            torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool)
        )  # values are T+1


def test_a_whole_number_passes_for_a_constant():
    assert aggregate.uncertainty_weighted(torch.ones(2, 1, 1), lam=0) == 1
