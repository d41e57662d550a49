"""Run by test_contract in two processes: every recipe on its small world, the first process writes
the readings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from assay.engine import parallel

if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parent))
    from small import small_world
    from test_contract import RECIPES, drive, name

    # before they are two: a world that two processes train is another one, and has its own name
    for module in RECIPES:
        small_world(module)
    with parallel.group():
        for module in RECIPES:
            readings = drive(module, small_world(module))
            if parallel.rank() == 0:
                (Path(sys.argv[1]) / f"{name(module)}.json").write_text(json.dumps(readings))
