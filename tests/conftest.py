"""What every test shares: shapes that run, one thread and one seed, so that numbers depend on no
machine and no order.
"""

from __future__ import annotations

from typing import Any

import beartype
import hypothesis
import jaxtyping
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "assay", deadline=None, derandomize=True
)  # a busy machine fails no law, and none by luck
hypothesis.settings.load_profile("assay")


def checked(f: Any) -> Any:
    """beartype as Python's typing reads annotations: an int passes where a float is asked for."""
    return beartype.beartype(f, conf=beartype.BeartypeConf(is_pep484_tower=True))


jaxtyping.install_import_hook("assay", "conftest.checked")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Tests may draw from torch's global stream; the package may not."""
    torch.manual_seed(0)
