"""One side of a case in a process of its own: it is set up, then each line on its input is a step.

    python -m bench.real.worker ours|peer CASE FOLDER STEPS

Lines out are JSON: {"ready": …}, then one a step.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.real.cases import case


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

    import torch
    import transformers

    c = case(name)
    about = {"torch": torch.__version__, "transformers": transformers.__version__}
    if side == "equal":  # in a process of its own, so that its memory is not the step's
        with tempfile.TemporaryDirectory() as scratch:
            if argv[4] == "ours":
                from bench.real import ours

                say({"ready": about, **ours.equality(c, folder)})
            else:
                from bench.real import peer

                say({"ready": about, **peer.equality(c, folder, Path(scratch))})
        return 0
    if side == "ours":
        from assay.engine import memory
        from bench.real import ours

        memory.keep()  # as the command line does; the peer gets the same in its environment
        step = ours.stepper(c, folder, steps=steps)
        say({"ready": about})
        while asked():
            say(step())
        return 0
    import trl

    from bench.real import peer

    with tempfile.TemporaryDirectory() as scratch:
        say({"ready": {**about, "trl": trl.__version__}})
        peer.serve(c, folder, steps=steps, scratch=Path(scratch), asked=asked, said=say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
