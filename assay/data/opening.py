"""Opens a model's files for transformers: which arguments it gets, and what it may fetch.

Every loader of this package stands in a block of `opening`. Before the block, the settings are
read and what would run code is refused. Of a model on the hub, the files that belong to it are
fetched first, at one commit. Within the block the hub cannot be reached, so that no file can make a
library fetch what the user did not name. Where the user trusts the model's code, the block leaves
the hub open, because that code may need it.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.data import hub, model_trust
from assay.errors import InputError

# What a model's settings, tokenizer and template are stored in.
_TOLD = re.compile(
    r"[\w.-]+\.(json|jinja|model|txt|tiktoken)|additional_chat_templates/[\w.-]+\.jinja"
)
_FIRST = ("config.json", "adapter_config.json")
_WEIGHTS = "model.safetensors"
_INDEX = f"{_WEIGHTS}.index.json"


@contextmanager
def opening(name: str, subject: str, *, weights: bool = True) -> Iterator[dict[str, Any]]:
    """Give the arguments for `from_pretrained`, after the model's files were examined.

    Args:
        name: A folder, or an id on the hub.
        subject: What gave the name, as the beginning of a message, e.g. "--model is 'x'".
        weights: Whether the weights are needed, and not the settings and the tokenizer alone.

    Yields:
        Keyword arguments of an Auto class: local_files_only, trust_remote_code, and of a model on
        the hub the commit that was examined.

    Raises:
        InputError: There is no such model, a file of it is damaged, or it would run code that the
            user did not say to trust.
    """
    trust = model_trust.trusted()
    how: dict[str, Any] = {"trust_remote_code": trust}
    if here := hub.local_only(name, subject):
        _examine(Path(name) if Path(name).is_dir() else _cached(name), subject, trust)
    else:
        how["revision"] = _fetched(name, subject, trust, weights)
    if trust:
        yield {**how, "local_files_only": here}
        return
    with _out_of_reach():
        yield {**how, "local_files_only": True}


def _examine(folder: Path, subject: str, trust: bool) -> None:
    """Raise InputError where a folder is not to be opened."""
    if wrong := model_trust.refusal(folder, trust=trust):
        raise InputError(f"{subject}, and {wrong}")


def _cached(name: str) -> Path:
    """The folder of the hub's cache that holds a model."""
    from huggingface_hub import try_to_load_from_cache

    return Path(str(try_to_load_from_cache(name, "config.json"))).parent


def _fetched(name: str, subject: str, trust: bool, weights: bool) -> str:
    """Fetch a model's settings, examine them, and fetch the rest; return the commit."""
    from huggingface_hub import HfApi, hf_hub_download

    try:
        there = [f.rfilename for f in HfApi().model_info(name).siblings or ()]
        settings = [f for f in there if _TOLD.fullmatch(f)]
        first = next((f for f in settings if f in _FIRST), "")
        # without a commit: the cache keeps which one it is, for a day without a hub
        folder = Path(hf_hub_download(name, first)).parent if first else Path(".")
        commit = folder.name
        for file in settings if first else ():
            hf_hub_download(name, file, revision=commit)
    except Exception as why:  # the hub and the network raise many types for one thing
        raise hub.refused(name, subject, why) from why
    if "adapter_config.json" in settings:
        raise InputError(
            f"{subject}, an adapter of another model and not a whole one; merge it by peft's "
            "merge_and_unload(), and give the folder that save_pretrained wrote"
        )
    if "config.json" not in settings:
        raise InputError(f"{subject}, and it holds no config.json; {hub.GIVE}")
    _examine(folder, subject, trust)
    if weights:
        _fetch_weights(name, subject, commit, there, folder)
    return commit


def _fetch_weights(name: str, subject: str, commit: str, there: list[str], folder: Path) -> None:
    """Fetch the files of weights that a model's settings name."""
    from huggingface_hub import hf_hub_download

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    index = str(config.get("transformers_weights") or _INDEX)
    wanted = [index] if index in there and not index.endswith(".json") else []
    if not wanted and _WEIGHTS in there and index == _INDEX:
        wanted = [_WEIGHTS]
    elif not wanted and index in there:
        shards = json.loads((folder / index).read_text(encoding="utf-8")).get("weight_map") or {}
        wanted = sorted(set(shards.values()))
    if not wanted:
        pickles = [f for f in there if f.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        more = f", and {pickles[0]} is a pickle, which is never opened" if pickles else ""
        raise InputError(
            f"{subject}, and it holds no weights as safetensors{more}; give a model that has them"
        )
    try:
        for file in wanted:
            hf_hub_download(name, file, revision=commit)
    except Exception as why:  # the hub and the network raise many types for one thing
        raise hub.refused(name, subject, why) from why


_LOCK = threading.Lock()
_HELD: list[None] = []  # one for each open block
_BEFORE: list[Any] = [False, None]  # what the settings were before the first of them


@contextmanager
def _out_of_reach() -> Iterator[None]:
    """Keep every library of this process from asking the hub, until the last such block ends."""
    from huggingface_hub import constants

    name = "HF_HUB_OFFLINE"  # the environment is for processes that a library starts
    with _LOCK:
        if not _HELD:
            _BEFORE[:] = [constants.HF_HUB_OFFLINE, os.environ.get(name)]
            constants.HF_HUB_OFFLINE, os.environ[name] = True, "1"
        _HELD.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _HELD.pop()
            if not _HELD:
                constants.HF_HUB_OFFLINE = _BEFORE[0]
                if _BEFORE[1] is None:
                    del os.environ[name]
                else:
                    os.environ[name] = _BEFORE[1]
