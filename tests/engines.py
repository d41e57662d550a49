"""The completion server as a process, and a policy that asks it: what the tests of served policies
share.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from families import checkpoint

SERVER = Path(__file__).parent / "completion_server.py"
ASKS = ["the old mill", "please tell me about the gate", "what?"]


@contextmanager
def served(folder: Path) -> Iterator[dict[str, Any]]:
    """A server in a process of its own, of a tiny Llama in folder/tiny, and where its calls are
    logged.
    """
    one, other = (
        str(checkpoint(folder / name, "llama", seed=seed))
        for seed, name in enumerate(("tiny", "other"))
    )
    log = folder / "log"
    process = subprocess.Popen(
        [sys.executable, str(SERVER), one, other, str(log)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield {
            "url": f"http://127.0.0.1:{int(process.stdout.readline())}/v1",
            "model": one,
            "log": log,
        }
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def policy(there: dict[str, Any], name: str = "tiny", *, tries: int = 3, **settings: Any) -> Any:
    """The reference of world hub over that server, without the world."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from assay.models.backbones.pretrained import Pretrained
    from assay.models.policies.served import Served
    from assay.models.policies.stop_strings import Stops
    from assay.models.samplers.openai import Server

    model = AutoModelForCausalLM.from_pretrained(there["model"])
    words = Stops(
        AutoTokenizer.from_pretrained(there["model"]),
        size=model.config.vocab_size,
        stop=settings.pop("stop", ()),
    )
    engine = Server(there["url"], name, words, tries=tries, pause=0.01)
    return Served(Pretrained(model), words, engine, **{"max_tokens": 10, **settings}).frozen()
