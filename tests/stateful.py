"""How long hypothesis runs a stateful test: seconds in `make test`, hours in `make nightly`."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
SHORT = settings(
    max_examples=6,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=_SLOW,
)
LONG = settings(
    SHORT,
    max_examples=int(os.environ.get("ASSAY_STATEFUL_EXAMPLES", "3000")),
    stateful_step_count=60,
    derandomize=False,
    database=None,
)
PROFILES = [
    pytest.param(SHORT, id="short"),
    pytest.param(LONG, id="long", marks=pytest.mark.nightly),
]
