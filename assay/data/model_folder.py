"""What is wrong with a folder that should hold a model, told before or after transformers fails.

transformers names a file rarely, and passes over some of what is broken: generation settings that
are no JSON, and weights of whole numbers. Only file names and the headers of weights are read here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ADAPTER = "adapter_config.json"
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", ADAPTER)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_POINTER = b"version https://git-lfs"  # what Git keeps of a large file that was not fetched
_MOST = 100_000_000  # bytes of a header, as safetensors itself allows


def fault(folder: Path) -> str:
    """What is wrong with the files that are there.

    Args:
        folder: A folder; also one that holds no model.

    Returns:
        A clause that begins with a file's name; "" where nothing is wrong.
    """
    indices = sorted(p.name for p in folder.glob("*.safetensors.index.json"))
    for name in (*SETTINGS, *indices):
        if said := _not_an_object(folder / name):
            return said
    if (folder / ADAPTER).is_file():
        base = _read(folder / ADAPTER).get("base_model_name_or_path") or "its base"
        return (
            f"{ADAPTER} makes it an adapter of {base} and not a whole model; load it by peft's "
            "AutoPeftModel classes, merge it by merge_and_unload(), and save_pretrained() both "
            "model and tokenizer to a folder of their own"
        )
    config = _read(folder / "config.json")
    for name in indices:
        wanted = _read(folder / name).get("weight_map")
        shards = sorted(set(map(str, wanted.values()))) if isinstance(wanted, dict) else []
        if lacking := [s for s in shards if not os.path.isfile(folder / s)]:
            return f"{lacking[0]:.60} is not there, which {name} names"
    quantised = "quantization_config" in config
    for path in sorted(folder.glob("*.safetensors")):
        if said := _damaged(path, quantised):
            return f"{path.name} {said}"
    return ""


def lacking(folder: Path, said: str) -> str:
    """What a folder lacks that transformers could not load.

    Args:
        folder: The folder.
        said: What transformers said, which tells whether it looked for a tokenizer.

    Returns:
        A clause; "" where everything is there.
    """
    if "tokenizer" in said.lower() and not any((folder / n).is_file() for n in TOKENIZERS):
        return f"it holds no tokenizer ({' or '.join(TOKENIZERS[:2])})"
    if broken := _not_an_object(folder / "tokenizer.json"):
        return broken
    if not (folder / "config.json").is_file():
        return "it holds no config.json"
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt*")))
        if pickles:
            return (
                f"its weights are in {pickles[0]}, a pickle, which may run code and is never "
                "opened; load it where you trust it, and save_pretrained writes safetensors"
            )
        return "it holds no weights (model.safetensors)"
    return ""


def _read(path: Path) -> dict[str, Any]:
    """The object of a JSON file that was checked; {} without such a file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _not_an_object(path: Path) -> str:
    """Why a JSON file is of no use, as a clause; "" where it is, or is not there."""
    if not path.is_file():
        return ""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as why:
        return f"{path.name} is not JSON ({str(why)[:80]})"
    if not isinstance(found, dict):
        return f"{path.name} holds a {type(found).__name__} where an object belongs"
    return "" if found or path.name != "tokenizer.json" else f"{path.name} is empty"


def _damaged(path: Path, quantised: bool) -> str:
    """Why a file of weights cannot be read, as a clause; "" where it can."""
    size = path.stat().st_size
    with open(path, "rb") as f:
        first = f.read(8)
        if (first + f.read(len(_POINTER))).startswith(_POINTER):
            return "is a pointer of Git LFS and not the weights; fetch them with: git lfs pull"
        length = int.from_bytes(first, "little")
        if len(first) < 8 or not 2 <= length <= min(_MOST, size - 8):
            return "is no file of safetensors, or only its beginning"
        f.seek(8)
        try:
            header = json.loads(f.read(length))
            tensors = {k: v for k, v in header.items() if k != "__metadata__"}
            end = 8 + length + max((t["data_offsets"][1] for t in tensors.values()), default=0)
            kinds = {k: str(t["dtype"]) for k, t in tensors.items()}
        except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
            return "is no file of safetensors"
    if end != size:
        return f"has {size:,} bytes where its header says {end:,}: it was not copied whole"
    whole = [k for k, kind in kinds.items() if kind[0] in "IU" and k.endswith(".weight")]
    if whole and not quantised:
        return f"holds {whole[0]} as whole numbers ({kinds[whole[0]]})"
    return ""
