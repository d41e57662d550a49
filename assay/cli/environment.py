"""The environment variables that assay and its libraries read: one table, for help, `assay doctor`
and the manual.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    Attributes:
        name: As it is set.
        about: What it does, in one line.
        secret: Its value is never shown.
    """

    name: str
    about: str
    secret: bool = False


VARIABLES = (
    Variable("ASSAY_CACHE", "Folder of built worlds and the report's script; ~/.cache/assay."),
    Variable("ASSAY_JUDGE_KEY", "Key of the address that --watch names.", secret=True),
    Variable("ASSAY_REWARD_KEY", "Key of addresses that --rewards and --gold name.", secret=True),
    Variable("ASSAY_TOKEN", "Token that requests to assay serve must carry.", secret=True),
    Variable("ASSAY_SAMPLER_KEY", "Key of the address that --sampler names.", secret=True),
    Variable(
        "OPENAI_API_KEY", "Key of a judge or a sampler that has none of its own.", secret=True
    ),
    Variable("HF_HOME", "Folder of models and data sets of the hub; ~/.cache/huggingface."),
    Variable("HF_HUB_CACHE", "Folder of models alone; HF_HOME/hub."),
    Variable("HF_HUB_OFFLINE", "1: never ask the hub; read its cache alone."),
    Variable("HF_ENDPOINT", "Address of the hub, where it is a mirror."),
    Variable("HF_TOKEN", "Token for private and gated models.", secret=True),
    Variable("HF_HUB_DISABLE_PROGRESS_BARS", "0: show the hub's own bars; assay hides them."),
    Variable("TRANSFORMERS_VERBOSITY", "What transformers logs; assay sets error."),
    Variable("CUDA_VISIBLE_DEVICES", "The GPUs that torch may see, such as 0,1."),
    Variable("PYTORCH_ALLOC_CONF", "How torch handles the memory of a GPU."),
    Variable("OMP_NUM_THREADS", "Threads on the CPU; all cores by default."),
    Variable("MALLOC_ARENA_MAX", "With any MALLOC_… variable, glibc's memory is left as it is."),
    Variable("RANK", "Number of this process; a launcher sets it."),
    Variable("LOCAL_RANK", "Number of this process on its machine, and of its GPU."),
    Variable("LOCAL_WORLD_SIZE", "Processes of a launch on this machine; a launcher sets it."),
    Variable("WORLD_SIZE", "Processes of a launch; a launcher sets it."),
    Variable("ASSAY_PROCESS_TIMEOUT", "Seconds that a process waits for the others; 1800."),
    Variable("HTTP_PROXY", "Proxy for http:// addresses; loopback goes past it."),
    Variable("HTTPS_PROXY", "Proxy for https:// addresses, the hub's too."),
    Variable("NO_PROXY", "Hosts that are asked without a proxy."),
    Variable("SSL_CERT_FILE", "Certificates that https:// addresses are checked with."),
    Variable("WANDB_API_KEY", "Key of wandb.", secret=True),
    Variable("WANDB_MODE", "offline: wandb writes to this disk alone."),
    Variable("TRACKIO_DIR", "Folder of trackio."),
    Variable("NO_COLOR", "With any value: no colour."),
    Variable("COLUMNS", "Width of what is printed; the terminal's by default."),
)
# in an address: a user and a password, also without http://, and what follows a question mark
_USER, _QUERY = re.compile(r"(?:(?<=://)|^)[^/\s]+@"), re.compile(r"\?.*")


def value(variable: Variable) -> str | None:
    """The present value as it may be shown: "set" for a secret, None where it is not set."""
    found = os.environ.get(variable.name)
    if found is None or not variable.secret:
        return None if found is None else address(found)
    return "set" if found else ""


def address(text: str) -> str:
    """An address without a user, a password and a query, which may hold keys.

    Example:
        >>> address("http://me:secret@mirror:80/hub?token=secret")
        'http://…@mirror:80/hub?…'
    """
    return _QUERY.sub("?…", _USER.sub("…@", text))
