"""One side of a benchmark in a process of its own: a case is set up, then each line on its input is
a step.

    python -m bench.speed.worker ours|peer|second CASE FOLDER STEPS

The other side waits meanwhile, so that the machine is one side's alone. Lines out are JSON:
{"ready": …}, then one a step.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.speed.cases import case


def main(argv: list[str]) -> int:
    """Set up, then serve steps until the input ends."""
    side, name, folder, steps = argv[0], argv[1], Path(argv[2]), int(argv[3])
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes with the errors

    def say(what: dict[str, Any]) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        out.write(json.dumps({**what, "peak_bytes": peak}) + "\n")

    def asked() -> bool:
        return bool(sys.stdin.readline().strip())

    c = case(name)
    import torch

    if side == "ours":
        from assay.engine import memory
        from bench.speed import ours

        # as the command line does; the peer is run with the same settings in its environment
        memory.keep()
        say(
            {
                "ready": {
                    "torch": torch.__version__,
                    "threads": torch.get_num_threads(),
                    "equal": ours.equality(c, folder),
                }
            }
        )
        step = ours.stepper(c, folder, steps=steps)
        while asked():
            say(step())
        return 0
    if side == "second":
        import torchtune

        from bench.speed import second

        say(
            {
                "ready": {
                    "torch": torch.__version__,
                    "threads": torch.get_num_threads(),
                    "torchtune": torchtune.__version__,
                    "equal": second.equality(c, folder),
                }
            }
        )
        second.serve(c, folder, steps=steps, asked=asked, said=say)
        return 0
    import transformers
    import trl

    from bench.speed import peer

    with tempfile.TemporaryDirectory() as scratch:
        equal = peer.equality(c, folder, Path(scratch))
        say(
            {
                "ready": {
                    "torch": torch.__version__,
                    "threads": torch.get_num_threads(),
                    "trl": trl.__version__,
                    "transformers": transformers.__version__,
                    "equal": equal,
                }
            }
        )
        peer.serve(c, folder, steps=steps, scratch=Path(scratch), asked=asked, said=say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
