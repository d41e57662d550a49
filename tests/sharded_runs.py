"""Run by test_sharded in each process of a launch: commands of assay, one after another, and what
a process holds of a divided model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from assay import cli
from assay.engine import parallel, shards


def held(policy: str, prompts: str, **more: Any) -> dict[str, Any]:
    """What this process holds of a reference and of its trainable copy, and what they say."""
    from assay.core import Rng
    from assay.worlds import hub

    world = hub.world(policy=policy, prompts=prompts, held_out=4, max_tokens=6, fsdp=True, **more)
    reference: Any = world.task.reference
    trained = reference.copy()
    x = trained.sample(world.task.prompts[torch.arange(5)], 2, Rng(0))
    with torch.no_grad():
        logp, own = trained.logp(x), reference.logp(x)
    state = shards.gathered(trained.state_dict(), first=True)
    return {
        "mine": sum(shards.local(p).numel() for p in trained.parameters()),
        "all": sum(p.numel() for p in trained.parameters()),
        "of_reference": sum(shards.local(p).numel() for p in reference.parameters()),
        "divided": [shards.is_shard(p) for p in trained.parameters()],
        "apart": float((logp - own).abs().max()),
        "logp": logp.tolist(),
        "shapes": {k: list(v.shape) for k, v in state.items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
    with parallel.group():
        for name, job in jobs.items():
            if isinstance(job, list):
                code = cli.main(["run", *job])
                if code:
                    sys.exit(code)
            else:
                found = json.dumps(held(**job))
                (out / f"{name}-{parallel.rank()}.json").write_text(found, encoding="utf-8")
