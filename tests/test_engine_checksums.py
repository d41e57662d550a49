"""Digests of tensors depend on what they hold, not on how memory is laid out."""

from __future__ import annotations

import pytest
import torch

from assay.engine.checksums import of_tensor


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_a_view_has_the_digest_of_its_copy(dtype: torch.dtype) -> None:
    whole = torch.arange(12).reshape(3, 4).to(dtype)
    views = [whole[:, -1], whole[1:2, -1], whole.T, whole[1], whole[2, 3], whole[:0]]
    assert views[1].stride() != (1,), "one element may have any stride"
    for view in views:
        assert of_tensor("a", view) == of_tensor(
            "a", view.clone(memory_format=torch.contiguous_format)
        )
    assert of_tensor("a", whole[1]) != of_tensor("a", whole[2])
