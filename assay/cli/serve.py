"""serve: a reward behind HTTP, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import signal
import sys
from dataclasses import replace
from typing import Any

from assay.api import flags
from assay.cli import screen
from assay.cli.grammar import Grammar
from assay.cli.verbs import Seen
from assay.engine.quiet import quiet_libraries
from assay.engine.signals import sigterm_interrupts
from assay.errors import InputError
from assay.registry.catalogue import HOME
from assay.registry.parameters import from_text
from assay.safe_text import json_text, visible

ENDING = (signal.SIGINT, signal.SIGTERM)
HEADINGS = {  # where help shows the flags; those of all other fields are limits
    **dict.fromkeys(
        (
            *("aggregate", "shape", "references", "slope", "most", "late"),
            *("spread_limit", "calibrate", "calibrate_quantile", "trust_remote_code"),
        ),
        "Rewards",
    ),
    **dict.fromkeys(("host", "port", "token_file", "name", "log_requests"), "Server"),
    **dict.fromkeys(("workers", "max_batch", "max_wait"), "Batches"),
}
BODY = '{"prompts": ["2 + 2?"], "completions": ["4"]}'


def serve_(*rewards: str, json_: bool = False, **given: Any) -> int:
    """Serve a reward over HTTP, for trainers of any make.

    Several rewards are stacked: their members become one number by --aggregate and --shape. Paths:
    /v1/score (every member, spread, out-of-distribution flag), the request formats of OpenRLHF,
    vLLM, SGLang and slime, /v1/models, /health and /metrics. SIGTERM and Ctrl-C end it once every
    request that was taken is answered.

    Args:
        rewards: Folders of assay fit, sequence classifiers, FILE.py:name, or addresses.

    Example:
        assay serve reward
        assay serve reward judge.py:score --aggregate worst --port 8001
        assay serve reward --host 0.0.0.0 --token-file token
    """
    from assay.serve import log
    from assay.serve.config import ServeConfig
    from assay.serve.server import RewardServer

    config = ServeConfig(**given)
    log.to_stderr(requests=config.log_requests and not screen.is_quiet())
    if not rewards:
        raise InputError(
            "assay serve needs REWARD: a folder of assay fit, a sequence classifier, FILE.py:name, "
            "or the address of a server"
        )
    server = RewardServer(*rewards, **given | {"port": config.port})

    with sigterm_interrupts(), quiet_libraries():  # until it is ready it ends at once
        server.start()
    gc.freeze()  # what is loaded stays, and need not be looked through again and again
    kept = {n: signal.signal(n, lambda *_: server.ask_to_stop()) for n in ENDING}
    try:
        said = ready(server)
        print(json_text(said) if json_ else "\n".join(lines(said)), flush=True)
        clean = server.wait()
    finally:
        server.stop()
        for number, handler in kept.items():
            signal.signal(number, handler)
    if not clean:
        screen.note(
            f"assay: requests were still under way {config.drain:g} seconds after the server was "
            "told to end, and were dropped; give a longer --drain"
        )
        atexit.register(_leave)
    return 0 if clean else 1


def _leave() -> None:
    """End the process at once: where a thread still computes in torch, the interpreter's end would
    abort it with a signal.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with the fields of the server's configuration."""
    found = from_text(HOME / "serve" / "config.py", "ServeConfig")
    if found is None:
        raise LookupError("the server's configuration cannot be read from its text")
    served = flags.of(found)
    headed = {k: replace(f, group=HEADINGS.get(k, "Limits")) for k, f in served.items()}
    return replace(base, flags={**base.flags, **headed})


def ready(server: Any) -> dict[str, Any]:
    """What is said when the server is ready."""
    file = server.config.token_file
    held = f"$(cat {shlex.quote(file)})" if file else "$ASSAY_TOKEN"
    token = "" if server.token is None else f' -H "Authorization: Bearer {held}"'
    return {
        "url": server.url,
        "model": server.about["id"],
        "members": server.about["members"],
        "aggregate": server.about["aggregate"],
        "shape": server.about["shape"],
        "spread_limit": server.about["spread_limit"],
        "calibration": server.about["calibration"],
        "rewards": f"{server.url}/v1/score",
        "try": f"curl -s {server.url}/v1/score{token} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(BODY)}",
    }


def lines(said: dict[str, Any]) -> list[str]:
    """The same for a person."""
    members = said["members"]
    what = members[0] if len(members) == 1 else f"{said['aggregate']} of {len(members)} members"
    shape = "" if said["shape"] == "none" else f", shape {said['shape']}"
    out = [f"{said['url']}  serves {said['model']}: {what}{shape}  (Ctrl-C ends it)"]
    if (how := said["calibration"]) is not None:
        out.append(
            f"out of distribution: spread above {said['spread_limit']:.4g}, the "
            f"{how['quantile']:g} quantile of {how['completions']:,} completions of {how['file']}"
        )
    key = ", with the token in ASSAY_REWARD_KEY" if "Authorization" in said["try"] else ""
    return [
        visible(line)
        for line in (*out, f"use: --rewards {said['rewards']}{key}", f"try: {said['try']}")
    ]
