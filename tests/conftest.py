"""What every test shares: shapes that run, one thread and one seed, so that numbers depend on no
machine and no order.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
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


HOME = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Let all workers keep small worlds in one folder, so that each is schooled once."""
    if "ASSAY_SMALL" not in os.environ:  # the workers inherit what their starter has
        os.environ["ASSAY_SMALL"] = folder = tempfile.mkdtemp()
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def modules() -> list[str]:
    """The modules whose calls are checked: those that name shapes, and with ASSAY_CHECK=all every
    one. Checking them all takes 2.6 times as long as checking none, these 1.4 times; mypy has seen
    the others' types.
    """
    if os.environ.get("ASSAY_CHECK") == "all":
        return ["assay"]
    return [
        ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((HOME / "assay").rglob("*.py"))
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]


jaxtyping.install_import_hook(modules(), "conftest.checked")


@pytest.fixture(autouse=True)
def _heard() -> None:
    """The command line says how much of these logs is heard, for a process that ends with it."""
    for log in map(logging.getLogger, ("assay", "assay.serve", "uvicorn.error")):
        log.setLevel(logging.NOTSET)  # also after a fixture that several tests share
        log.propagate, log.handlers = True, []


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Tests may draw from torch's global stream; the package may not."""
    torch.manual_seed(0)
