"""One trial call of each function or server that judges, before anything is built.

A judge that raises is found out in a moment and not after a model was loaded, a step made and a
reading sampled. The call has the first prompt that completions are sampled for, with its columns,
twice, with two short stand-in completions: a list of one score would pass a call with one. Reward
models (folders, classifiers) and gold of a world are not tried: assay opens them itself.

A judge behind an address (`--watch http://…`) is asked one question of a few tokens in place of the
prompt, whose length is not known: it costs two short calls, is no label and counts in no budget,
and finds a wrong key, a wrong model name and a verdict that cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.core import PromptTexts
from assay.data.stream import stream
from assay.errors import InputError
from assay.registry.functions import LOADED
from assay.registry.live import Live
from assay.rewards.function import FunctionReward
from assay.rewards.http import TIMEOUT, HttpFunction
from assay.rewards.load import entries, open_reward
from assay.rewards.returned import NotFiniteReward
from assay.watch.config import WatchConfig
from assay.watch.labelers.chat_judge import ChatJudge
from assay.watch.labelers.choose import asks_people_or_gold, make_labeler
from assay.watch.labelers.function import FunctionLabeler
from assay.watch.labelers.questions import STAND_INS, Question, trial_question

_FINE: set[str] = set()  # calls that went well: a command line tries before it builds a world
EASY = Question("watch trial", 0, (0,), "What is 2 + 2?", "4", "5")


def try_rewards(
    rewards: Sequence[Any], flag: str, prompts: PromptTexts, places: Sequence[int]
) -> None:
    """Call each function and server once.

    Args:
        rewards: Open rewards; those that are no function and no server are left alone.
        flag: The flag that gave them, for the message.
        prompts: The prompts.
        places: Those that completions are sampled for; the first is used.

    Raises:
        InputError: One raises, or returns anything but one finite number or None.
    """
    for reward in rewards if places else ():
        if not isinstance(reward, FunctionReward):
            continue
        first = places[0]
        key = _key(reward, prompts.texts[first])
        if key in _FINE:
            continue
        twice = [first] * len(STAND_INS)
        columns = {name: [cells[p] for p in twice] for name, cells in prompts.columns.items()}
        try:
            reward.scores(
                [prompts.texts[p] for p in twice],
                STAND_INS,
                [prompts.turns[p] for p in twice],
                columns,
            )
        except InputError as why:
            skipped = flag == "rewards" and isinstance(why, NotFiniteReward)
            more = (
                ", or leave such completions out with --nonfinite-rewards skip" if skipped else ""
            )
            raise InputError(f"{_trial(flag)}: {why}{more}") from why
        _FINE.update({key} - {""})


def _key(reward: FunctionReward, prompt: str) -> str:
    """Names a call of a function of an unchanged file or of a server; "" for any other."""
    function = getattr(reward, "function", None)
    if isinstance(function, HttpFunction):
        return f"{function.client.url} {prompt}"
    file = Path(getattr(getattr(function, "__code__", None), "co_filename", ""))
    if not getattr(function, "__module__", "").startswith(LOADED) or not file.is_file():
        return ""
    return f"{file} {file.stat().st_mtime_ns} {reward.names[0]} {prompt}"


def try_labeler(watch: WatchConfig, prompts: PromptTexts, row: int = 0) -> None:
    """Call the labeler of a watch once, if it is a function or a judge behind an address.

    Args:
        watch: Who labels.
        prompts: The prompts.
        row: The prompt that a function is shown.

    Raises:
        InputError: It raises, returns no label, or cannot be reached.
    """
    if asks_people_or_gold(watch):
        return
    labeler = make_labeler(watch, gold=None, folder=None, again="")
    if isinstance(labeler, FunctionLabeler):
        shown = trial_question(
            prompts.texts[row],
            {"row": row, **prompts.columns_of([row])[0]},
            prompts.messages_of([row])[0],
        )
        try:
            labeler.once(shown)
        except InputError as why:
            raise InputError(f"{_trial('watch')}: {why}") from why
    elif isinstance(labeler, ChatJudge):
        for label in labeler([EASY]):
            if label.value is None:
                raise InputError(
                    f"{_trial('watch')}: {labeler.name} gave no usable answer ({label.why}); start "
                    "the server there, or give its address and the model's name (--watch.model)"
                )


def try_judges(arguments: Mapping[str, Any], watch: WatchConfig | None) -> None:
    """Call once every function and server that judges in a run of world hub.

    Args:
        arguments: The world's arguments.
        watch: The run's watch; None without one.

    Raises:
        InputError: See `try_rewards` and `try_labeler`.
    """
    seconds = arguments.get("reward_timeout", TIMEOUT)
    opened = {
        flag: [open_reward(spec, flag, timeout=seconds) for spec in specs if is_called(spec)]
        for flag, specs in (
            ("rewards", entries(arguments.get("rewards") or (), "rewards")),
            ("gold", entries(arguments.get("gold") or (), "gold")),
        )
    }
    asked = watch is not None and not asks_people_or_gold(watch)
    if not asked and not any(opened.values()):
        return
    prompts = first_prompt(arguments)
    for flag, some in opened.items():
        for reward in some:
            if isinstance(reward, FunctionReward):
                reward.possible(prompts.columns, [0], flag, _file(arguments))
        try_rewards(some, flag, prompts, [0])
    if watch is not None:
        try_labeler(watch, prompts)


def first_prompt(arguments: Mapping[str, Any]) -> PromptTexts:
    """The first prompt of the file that world hub reads its prompts from.

    Args:
        arguments: The world's arguments.

    Raises:
        InputError: There is no file, or its first rows cannot be read.
    """
    file = _file(arguments)
    kind = next(
        kind
        for kind, name in (("prompts", "prompts"), ("pairs", "pairs"), ("demonstrations", "demos"))
        if arguments.get(name) or name == "demos"
    )
    if not file:
        raise InputError("--prompts is required: a file of prompts")
    columns = dict(arguments.get("columns") or {})
    several = sum(bool(arguments.get(name)) for name in ("prompts", "pairs", "demos")) > 1
    rows = stream(
        file,
        kind,
        columns=columns,
        label_map=(arguments.get("label_map") or None) if kind == "pairs" else None,
        split=arguments.get("split") or None,
        unused=set(columns) if several else None,
    )
    for item, row in rows:
        if item.prompt.strip():
            return PromptTexts(
                str, [item.prompt], [item.turns], {name: [cell] for name, cell in row.items()}
            )
    raise InputError(f"{file} has no prompt; give a file with at least one")


def is_called(spec: Any) -> bool:
    """Whether a reward is a function or a server, which a trial calls."""
    if isinstance(spec, Live):
        return is_called(spec.value)
    if isinstance(spec, str):
        return ".py:" in spec or spec.endswith(".py") or spec.startswith(("http://", "https://"))
    return isinstance(spec, FunctionReward) or (callable(spec) and not hasattr(spec, "scores"))


def _file(arguments: Mapping[str, Any]) -> str:
    found: str = next((arguments[n] for n in ("prompts", "pairs", "demos") if arguments.get(n)), "")
    return found  # a live name stays one


def _trial(flag: str) -> str:
    return f"--{flag} failed in a trial call, before anything was built"
