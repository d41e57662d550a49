"""All readers that are fuzzed."""

from __future__ import annotations

from fuzz.harness import Target
from fuzz.targets_data import DATA
from fuzz.targets_models import MODELS
from fuzz.targets_records import RECORDS
from fuzz.targets_wire import WIRE

TARGETS: dict[str, Target] = {t.name: t for t in (*DATA, *RECORDS, *MODELS, *WIRE)}
