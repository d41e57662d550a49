"""What every test shares: shapes that run, and one thread, so that numbers do not depend on the machine's cores."""
from __future__ import annotations

from typing import Any

import beartype
import jaxtyping
import torch

torch.set_num_threads(1)


def checked(f: Any) -> Any:
    """beartype as Python's typing reads annotations: an int passes where a float is asked for."""
    return beartype.beartype(f, conf=beartype.BeartypeConf(is_pep484_tower=True))


jaxtyping.install_import_hook("assay.formulas", "conftest.checked")
