"""Names of models: a local folder, or an id on the hub, which may not be reachable.

The hub's client tries an unreachable hub six times a file, for a minute in all. So a name is looked
up first: in the folders here, in the hub's cache, and by one short question to the hub.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

from assay.data import model_folder
from assay.errors import InputError

GIVE = "give a folder that save_pretrained wrote, or an id on the hub"
WHOLE = "copy the folder again, or give another that save_pretrained wrote"
PATIENCE = 5.0  # seconds that the hub may take for its first reply
MADE = ("config.json", "reward.json")  # what a folder with a model holds
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")  # name or owner/name


def local_only(name: str, subject: str) -> bool:
    """Say where transformers finds a model, before it is asked.

    Args:
        name: A folder, or an id on the hub.
        subject: What gave the name, as the beginning of a message, e.g. "--model is 'x'".

    Returns:
        True where it is a folder here or is in the hub's cache and the hub cannot be asked: pass it
        as `local_files_only`. False where the hub is to be asked.

    Raises:
        InputError: There is no such folder, and it cannot be an id, or the hub cannot be reached;
            or a file of the folder is damaged.
    """
    if Path(name).is_dir():
        if wrong := model_folder.fault(Path(name)):
            raise InputError(f"{subject}, and in that folder {_cured(wrong)}")
        return True
    looked = f"{subject}, and there is no folder {name}{_near(name)}"
    if not _ID.fullmatch(name) or name.startswith((".", "~")):
        raise InputError(f"{looked}; {GIVE}")
    reason = unreachable()
    if not reason:
        return False
    if _cached(name):
        return True
    raise InputError(
        f"{looked}, the cache of the hub holds no model of that id, and {reason}; give a local "
        "folder, or try again with the hub in reach"
    )


def refused(name: str, subject: str, why: Exception) -> InputError:
    """The sentence for a model that transformers could not load.

    Args:
        name: A folder, or an id on the hub.
        subject: As for `local_only`.
        why: What transformers raised.
    """
    kinds = {type(e).__name__ for e in _chain(why)}
    if "GatedRepoError" in kinds:
        return InputError(
            f"{subject}, a model that its owner gives to some accounts alone; ask for access on "
            "its page, and set HF_TOKEN"
        )
    if "RepositoryNotFoundError" in kinds:
        return InputError(
            f"{subject}, and neither a folder here nor a public model on the hub has that name"
            f"{_near(name)}; for a private model set HF_TOKEN"
        )
    folder = Path(name)
    if folder.is_dir() and (lacks := model_folder.lacking(folder, str(why))):
        return InputError(f"{subject}, and {_cured(lacks)}")
    if "ignore_mismatched_sizes" in str(why):
        return InputError(
            f"{subject}, and its weights have other shapes than its config.json says; {WHOLE}"
        )
    said = textwrap.shorten(str(why), 200, placeholder=" …")
    return InputError(f"{subject}, and it cannot be loaded ({type(why).__name__}: {said}); {GIVE}")


def _cured(wrong: str) -> str:
    """What is wrong with a folder, with what to do, where the clause does not say it already."""
    return wrong if ";" in wrong else f"{wrong}; {WHOLE}"


def _chain(why: BaseException | None) -> list[BaseException]:
    """An exception and those that caused it."""
    found: list[BaseException] = []
    while why is not None and why not in found:
        found.append(why)
        why = why.__cause__ or why.__context__
    return found


def _near(name: str) -> str:
    """The folder beside it whose name is nearest, as an addition to a sentence."""
    path = Path(name).expanduser()
    if not path.parent.is_dir():
        return ""
    there = [
        p.name for p in path.parent.iterdir() if p.is_dir() and any((p / f).is_file() for f in MADE)
    ]
    close = difflib.get_close_matches(path.name, there, n=1, cutoff=0.6)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""


@cache
def unreachable() -> str:
    """Why the hub cannot be asked; "" where it answers."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE keeps assay from asking the hub"
    session: Any = get_session()
    try:
        session.head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as why:  # whatever the client of the hub raises, it has not answered
        said = textwrap.shorten(str(why) or type(why).__name__, 80, placeholder=" …")
        return f"the hub cannot be reached ({constants.ENDPOINT}: {said})"
    return ""


def _cached(name: str) -> bool:
    """Whether the hub's cache holds a model's configuration."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)
