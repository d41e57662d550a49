"""What a labeler that is a function may return, and what is refused in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_labelers_function import questions

from assay.errors import InputError
from assay.watch.labelers.function import FunctionLabeler


@pytest.mark.parametrize(
    "returned",
    [
        np.array([1.0]),
        np.array([True]),
        np.array(["first"]),
        [np.float32(1)],
        [np.bool_(True)],
        [np.int64(1)],
        torch.tensor([1.0]),
        torch.tensor([True]),
        [torch.tensor(1.0, requires_grad=True)],
        torch.tensor(1.0),
        np.float64(1.0),
        (1.0,),
        1.0,
        True,
        "first",
    ],
)
def test_what_a_function_may_return(returned: Any) -> None:
    """A list, an array or a tensor; one label where one pair was asked about."""
    (label,) = FunctionLabeler(lambda p, a, b: returned, "f")(questions(1))
    assert label.value == 1.0


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "f returned 'None' .a NoneType. for 1 pair; return a list with one label for each"),
        ({"label": 1}, "a dict. for 1 pair"),
        ((x for x in [1.0]), "a generator. for 1 pair"),
        (torch.tensor([[1.0]]), "label 1 of 1 from f is '.1.0.'; a label is 1 or 'first'"),
        (np.array([1.0, 0.0]), "f gave 2 labels for 1 pair"),
        ("both", "label 1 of 1 from f is 'both'"),
    ],
)
def test_what_it_may_not_return_is_one_sentence(returned: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(FunctionLabeler(lambda p, a, b: returned, "f", pause=9.0)(questions(1)))
