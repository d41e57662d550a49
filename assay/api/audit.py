"""`assay.audit`: how hackable a reward is, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assay.api import execution, orders
from assay.api.arguments import by_flag, in_python, plain
from assay.api.live import rewards_named, rows_named
from assay.api.progress import shown
from assay.api.reward_ensemble import source_of
from assay.audits.audit import audited, failed
from assay.audits.completions import Completions, grouped, read_completions
from assay.audits.config import AuditConfig, check_inputs
from assay.audits.page import page
from assay.audits.says import counts, says
from assay.audits.scorers import opened
from assay.core import PromptTexts, Rng
from assay.data.model_trust import trusting
from assay.engine import progress
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.records.provenance import provenance
from assay.registry import catalogue
from assay.registry.from_config import from_config
from assay.safe_text import json_text
from assay.worlds.device import device_named

_AT_ONCE = 4  # prompts that completions are sampled for at a time


@dataclass(frozen=True)
class Audit:
    """What an audit of rewards found. It prints as tables.

    Attributes:
        result: Everything, as JSON values: `assay audit --json` prints the same.

    Example:
        >>> rows = [{"prompt": f"Question {i}?", "response": "It is so. " * n}
        ...         for i in range(10) for n in (1, 2, 3)]
        >>> found = audit(lambda prompts, completions: [len(c) for c in completions],
        ...               scored=rows, probes=("padded", "empty"), words=0)
        >>> found.ok, len(found.failed)
        (False, 1)
        >>> [(r["probe"], r["mean"] > 0) for r in found.records()]
        [('padded', True), ('empty', False)]
    """

    result: Mapping[str, Any]

    def __str__(self) -> str:
        return "\n".join(says(self.result))

    def __repr__(self) -> str:
        names = ", ".join(r["name"] for r in self.result["rewards"])
        return f"<assay audit of {names}: {counts(self.result)}; print it, or call page(path)>"

    @property
    def ok(self) -> bool:
        """Whether no check fails; `assay audit` ends with exit code 1 otherwise."""
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """A sentence for each check that fails."""
        return failed(self.result)

    def records(self) -> Iterator[dict[str, Any]]:
        """One dict for each probe and reward or member, without the examples."""
        for p in self.result["probes"]:
            ends = {k: p["change"][k] for k in ("mean", "low", "high")}
            rises = p["rises"] or {"mean": None, "low": None, "high": None}
            yield {
                **{k: p[k] for k in ("probe", "sound", "reward", "member", "completions")},
                **ends,
                **{f"rises_{k}" if k != "mean" else "rises": rises[k] for k in rises if k in ends},
            }

    def page(self, path: str | Path) -> Path:
        """Write the audit as one HTML page, with the completions behind each number.

        Args:
            path: The HTML file; a report of assay's is written over.

        Returns:
            The path.

        Raises:
            InputError: Another file has the name.
        """
        return page(self.result, path)

    def to_json(self) -> str:
        """Everything as one JSON text."""
        return json_text(self.result)

    def to_pandas(self) -> Any:
        """The records as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(list(self.records()))


@from_config(AuditConfig)
def audit(
    rewards: Any,
    *,
    scored: Any = None,
    model: Any = None,
    prompts: Any = None,
    gold: Any = None,
    pairs: Any = None,
    fitted_on: Any = None,
    tokenizer: Any = None,
    config: AuditConfig = AuditConfig(),
) -> Audit:
    """Measure how hackable rewards are, before anything is trained.

    Completions of the same prompts are changed in ways that make none of them better, and the
    change of their score is measured. See the manual's page "Audit a reward".

    Args:
        rewards: One reward or a list of them: a folder of assay fit, a sequence classifier,
            FILE.py:name, the address of a server, a function, or what `fit_reward` returned.
        scored: A file of completions, a row a completion with prompt and response, several rows a
            prompt; or such rows in memory.
        model: A model that completions are sampled from: a Hugging Face model id, a local folder,
            or an open model.
        prompts: The prompts that the model completes: a file, or rows in memory.
        gold: The true quality. With scored a column of it; with model FILE.py:name, a reward model,
            the address of a server or a function.
        pairs: Preference pairs that the rewards have not seen, a file or rows in memory: accuracy
            and calibration on them, and on each subset that a column `subset` names.
        fitted_on: The pairs or scored responses that the reward was fitted on: accuracy is then
            shown by the distance from their texts.
        tokenizer: The tokenizer of an open model.
        config: What is measured, how much of it, and the thresholds.

    Returns:
        What was found. It prints as tables, `ok` says whether no check fails.

    Raises:
        InputError: A reward, a file or a setting cannot be used.
        NotFinite: A score is not finite.

    Example:
        >>> import assay
        >>> def length(prompts, completions):
        ...     return [len(text) for text in completions]
        >>> rows = [{"prompt": f"Question {i}?", "response": "It is so. " * n}
        ...         for i in range(10) for n in (1, 2, 3)]
        >>> found = assay.audit(length, scored=rows, probes=("padded", "empty"), words=0)
        >>> found
        <assay audit of length: 1 fails, 1 passes; print it, or call page(path)>
        >>> found.failed[0].split(": +")[0]
        'fails: length, probe padded'
    """
    inputs = Inputs(scored, model, prompts, gold, pairs, fitted_on, tokenizer)
    with in_python(), shown():
        return audit_of(rewards, inputs, config)


@dataclass(frozen=True)
class Inputs:
    """What an audit reads beside the rewards; see `audit`.

    Attributes:
        scored: Completions.
        model: A model to sample from.
        prompts: Its prompts.
        gold: The true quality.
        pairs: Preference pairs.
        fitted_on: What the reward was fitted on.
        tokenizer: The tokenizer of an open model.
    """

    scored: Any = None
    model: Any = None
    prompts: Any = None
    gold: Any = None
    pairs: Any = None
    fitted_on: Any = None
    tokenizer: Any = None


def audit_of(rewards: Any, inputs: Inputs, config: AuditConfig) -> Audit:
    """Audit rewards; messages name flags. See `audit`.

    Args:
        rewards: One reward or a list of them.
        inputs: What is read beside them.
        config: The settings.

    Raises:
        InputError: A reward, a file or a setting cannot be used.
        NotFinite: A score is not finite.
    """
    config.check()
    check_inputs(
        **{
            name: _given(getattr(inputs, name))
            for name in ("scored", "model", "prompts", "gold", "pairs", "fitted_on")
        },
        config=config,
    )
    trust = config.trust_remote_code
    with trusting(trust), quiet_libraries(models=True), torch.no_grad():
        specs = rewards_named(rewards, "rewards")
        scorers = opened(specs, timeout=config.reward_timeout).to(device_named(config.device))
        x = _completions(inputs, list(scorers.rewards.values()), config)
        labels, near = (
            source_of(v, config.split, name) if _given(v) else None
            for name, v in (("pairs", inputs.pairs), ("fitted_on", inputs.fitted_on))
        )
        found = audited(scorers, x, config, pairs=labels, fitted=near)
    return Audit({**provenance(), **found})


def _completions(inputs: Inputs, rewards: Sequence[Any], config: AuditConfig) -> Completions:
    """Read the completions, or sample them."""
    if not _given(inputs.scored):
        return sampled(inputs, rewards, config)
    if inputs.gold is not None and not isinstance(inputs.gold, str):
        raise InputError(
            f"gold is a {type(inputs.gold).__name__}; beside scored it is the name of a column"
        )
    with progress.stage("reading the completions"):
        return read_completions(
            source_of(inputs.scored, config.split, "scored"),
            gold=inputs.gold or "",
            columns=config.columns,
            split=config.split,
            drop=config.drop,
            templated=config.templated,
        )


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value)


def sampled(inputs: Inputs, rewards: Sequence[Any], config: AuditConfig) -> Completions:
    """Sample completions of a model, as `assay run best_of_n` samples them.

    Args:
        inputs: The model, its tokenizer, the prompts and gold, each as in `train`.
        rewards: Open rewards; the world tries them on the first prompt.
        config: How many completions, of which length, at which temperature.

    Raises:
        InputError: As in `train`.
    """
    entry = catalogue.find("best_of_n")
    more = {"max_tokens": config.max_tokens} if config.max_tokens else {}
    settings: dict[str, Any] = {
        "held_out": -1,
        "temperature": config.temperature,
        "device": config.device,
        "columns": plain(config.columns),
        "split": config.split,
        "drop": config.drop,
        "templated": config.templated,
        "trust_remote_code": config.trust_remote_code,
        **more,
    }
    given = by_flag(
        entry,
        settings,
        model=inputs.model,
        tokenizer=inputs.tokenizer,
        prompts=inputs.prompts,
        rewards=rewards,
        gold=inputs.gold or None,
    )
    world = execution.Worlds()(orders.order(entry, given))
    task, rng = world.task, Rng(config.seed)("audit completions")
    asks, said, turns, golds = list[str](), list[str](), list[Any](), list[float]()
    columns = dict[str, list[Any]]()
    n = config.num_generations
    for rows in torch.arange(len(task.prompts)).split(_AT_ONCE):
        x = task.reference.sample(task.prompts[rows], n, rng[rows])
        read, each = x.prompts.decode, [r for r in x.prompts.row.tolist() for _ in range(n)]
        assert isinstance(read, PromptTexts)
        asks += [read.texts[r] for r in each]
        turns += [read.turns[r] for r in each]
        said += [text for row in x.text() for text in row]
        for name, cells in read.columns.items():
            columns.setdefault(name, []).extend(cells[r] for r in each)
        if world.gold is not None:
            golds += world.gold(x)[0].flatten().tolist()
    true = torch.tensor(golds, dtype=torch.float64).numpy() if golds else None
    name = rows_named(inputs.prompts, "prompts")
    return grouped(asks, said, turns, columns, true, f"{n} samples a prompt of {Path(name).name}")
