"""Objects from Python as arguments: models, rows, functions and fitted rewards get a name each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.data.faults import Faults
from assay.data.memory import in_memory
from assay.engine.atomic import write_bytes
from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.models.live import LiveModel
from assay.records.own_inputs import INPUTS, OWN
from assay.registry.functions import function_name
from assay.registry.live import PYTHON, Live, opened, plainly
from assay.rewards.text_scorer import TextReward


def model_named(model: Any, tokenizer: Any) -> str | None:
    """A model as the argument `policy`.

    Args:
        model: A transformers or peft model, a folder, a model id, or None.
        tokenizer: Its tokenizer; None for the one beside the model.

    Raises:
        InputError: The model is something else.
    """
    if model is None:
        return None
    if isinstance(model, (str, Path)):
        if tokenizer is None:
            return str(model)
        raise InputError(
            f"model is '{model}' and a tokenizer is given; pass the open model with it, or leave "
            "tokenizer out: it is loaded beside the model"
        )
    if not callable(getattr(model, "parameters", None)) or not hasattr(model, "config"):
        raise InputError(
            f"model is a {type(model).__name__}; pass a transformers causal language model, a peft "
            "model around one, a folder or a model id"
        )
    if callable(getattr(model, "get_output_embeddings", None)) and (
        model.get_output_embeddings() is None
    ):
        raise InputError(
            f"model is a {type(model).__name__}, which has no language-model head; load it with "
            "AutoModelForCausalLM.from_pretrained"
        )
    if isinstance(tokenizer, (str, Path)):
        raise InputError(
            f"tokenizer is '{tokenizer}'; pass an open one: "
            f"AutoTokenizer.from_pretrained('{tokenizer}')"
        )
    live = LiveModel(model, tokenizer)
    if tokenizer is None and not getattr(model, "name_or_path", ""):
        raise InputError(
            f"model is an open {type(model).__name__} that was not loaded from a folder or the "
            "hub, so its tokenizer is unknown; pass tokenizer"
        )
    return Live(live.name, live)


def rewards_named(rewards: Any, flag: str) -> tuple[str, ...]:
    """Rewards as the argument `rewards`.

    Args:
        rewards: One reward or a sequence of them: a function, a `RewardEnsemble`, a sequence
            classifier, or what the command line's flag takes. A dict gives names.
        flag: The argument's name, for messages.
    """
    if rewards is None:
        return ()
    if isinstance(rewards, Mapping):
        return tuple(Live(f"{PYTHON}{k}", _reward(v, flag)) for k, v in rewards.items())
    several = isinstance(rewards, Sequence) and not isinstance(rewards, (str, TextReward))
    return tuple(_named(r, flag) for r in (rewards if several else [rewards]))


def _named(reward: Any, flag: str) -> str:
    if isinstance(reward, (str, Path)):
        return str(reward)
    found = _reward(reward, flag)
    folder = getattr(reward, "folder", None)
    if folder is not None:
        return Live(str(folder), found, found=True)
    if isinstance(found, TextReward):
        alone = len(found.names) == 1
        return Live(f"{PYTHON}{found.names[0] if alone else type(reward).__name__}", found)
    name = function_name(found)
    return Live(name, found, found=not name.startswith(PYTHON))


def _reward(reward: Any, flag: str) -> Any:
    """What `open_reward` takes: an open reward of text, or a function."""
    inner = getattr(reward, "reward", reward)  # a RewardEnsemble holds one
    if isinstance(inner, TextReward):
        return inner
    if hasattr(reward, "config") and hasattr(reward, "parameters"):
        from assay.rewards.live_models import live_reward

        return live_reward(reward, None)
    if callable(reward):
        return reward
    raise InputError(
        f"{flag} holds a {type(reward).__name__}; a reward is a function (prompts, completions, "
        "**columns) → numbers, what fit_reward or load_reward returned, a sequence classifier, or "
        "text: a folder, a model id, FILE.py:name or a URL"
    )


def preference_named(preference: Any) -> str | None:
    """A preference model as the argument `preference`: a function, or what the flag takes.

    Args:
        preference: `function(prompts, first, second, **columns)`, what `fit_preference` returned,
            FILE.py:name, a folder of `assay fit --preference-dim`, an address, or None.

    Raises:
        InputError: It is something else.
    """
    if preference is None or isinstance(preference, (str, Path)):
        return None if preference is None else str(preference)
    folder = getattr(preference, "folder", None)  # of a model that `fit_preference` wrote
    if folder is not None:
        return str(folder)
    if not callable(preference):
        raise InputError(
            f"preference is a {type(preference).__name__}; it is a function (prompts, first, "
            "second, **columns) → the chance that the first is better, what fit_preference "
            "returned, FILE.py:name, a folder of assay fit --preference-dim, or the address of an "
            "LLM judge with preference_model"
        )
    name = function_name(preference)
    return Live(name, preference, found=not name.startswith(PYTHON))


def rows_named(rows: Any, name: str) -> str:
    """Prompts, pairs or demonstrations as a file's name.

    Args:
        rows: A file, a hub name, a list of texts, of conversations or of rows, a
            `datasets.Dataset`, a pandas DataFrame, or any other iterable of these; None for none.
        name: The argument's name: prompts, pairs or demos.

    Raises:
        InputError: It is something else, or a cell is no JSON value.
    """
    if rows is None:
        return ""
    if isinstance(rows, (str, Path)):
        if len(str(rows)) > 1000 or "\n" in str(rows):
            raise InputError(f"{name} is one text; pass a list of texts, or the name of a file")
        return str(rows)
    if hasattr(rows, "tolist") and getattr(rows, "ndim", 2) == 1:  # a Series, an array of texts
        rows = rows.tolist()
    if isinstance(rows, Mapping) and not hasattr(rows, "column_names"):
        raise InputError(f"{name} is one row; pass a list of rows")
    if not hasattr(rows, "column_names") and not hasattr(rows, "iloc"):
        if not isinstance(rows, Iterable):
            raise InputError(
                f"{name} is a {type(rows).__name__}; pass a file, a hub name, a list of texts or "
                "of rows, or a datasets.Dataset"
            )
        rows = [_row(row, name, i) for i, row in enumerate(rows)]
    faults = Faults(name, False)
    found = [
        {k: _json(v, f"{name}, row {i}, column '{k}'") for k, v in row.items()}
        for i, row in in_memory(rows, name).rows(faults)
    ]
    if not found:
        raise InputError(f"{name} is empty; pass at least one row")
    return Live(f"{name} from Python", found)


def _row(row: Any, name: str, i: int) -> Any:
    """A row of columns; a text or a conversation is a prompt."""
    if isinstance(row, str) or (
        isinstance(row, Sequence) and row and all(isinstance(t, Mapping) for t in row)
    ):
        return {"prompt": row}
    if not isinstance(row, Mapping):
        raise InputError(
            f"{name}[{i}] is a {type(row).__name__}; a row is a text, a conversation (a list of "
            "messages) or a dict of columns"
        )
    if {"role", "content"} <= row.keys():
        raise InputError(
            f"{name}[{i}] is a message; {name} is a list of conversations, each a list of messages"
        )
    return row


def _json(value: Any, where: str) -> Any:
    """A cell that a file can hold.

    Raises:
        InputError: It is something else.
    """
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict):
        return {k: _json(v, where) for k, v in value.items()}
    if isinstance(value, list):
        return [_json(v, where) for v in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise InputError(
        f"{where}: a {type(value).__name__} where text, a number, true or false, or lists and "
        "dicts of these were expected; leave the column out"
    )


def filed(arguments: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """A world's arguments as a record has them.

    Args:
        arguments: The arguments, with live names among them.
        folder: The run's folder: live rows and unsaved rewards are written into its folder
            `inputs`, so that another process can go on. None writes nothing.

    Returns:
        Plain text in place of every live name: the file's where one was written.
    """
    return {
        k: [_filed(v, f"{k}-{i}", folder) for i, v in enumerate(value)]
        if isinstance(value, (list, tuple))
        else _filed(value, k, folder)
        for k, value in arguments.items()
    }


def _filed(value: Any, name: str, folder: Path | None) -> Any:
    found = opened(value)
    if folder is None or found is None or value.found:
        return plainly(value)
    path = folder / INPUTS / name
    with writing_to(path):
        return _written(path, found) or plainly(value)


def _written(path: Path, found: Any) -> str:
    """Write what came from Python beside the run; "" for what has no file."""
    if isinstance(found, list):
        path = path.with_suffix(".jsonl")
        path.parent.mkdir(exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in found)
        write_bytes(path, text.encode())
        return f"{OWN}{path.name}"
    if callable(getattr(found, "save", None)):
        path.parent.mkdir(exist_ok=True)
        found.save(path)
        return f"{OWN}{path.name}"
    return ""


def rows_digests(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Digests of live rows by name, for a record in memory."""
    found = {str(v): opened(v) for v in arguments.values() if isinstance(opened(v), list)}
    return {
        name: hashlib.sha256(json.dumps(rows).encode()).hexdigest() for name, rows in found.items()
    }
