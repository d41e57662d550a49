"""Fit and load rewards."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from assay import data
from assay.api import flags
from assay.api.arguments import in_python, plain
from assay.api.flags import Flag
from assay.api.progress import shown
from assay.api.reward_ensemble import RewardEnsemble, source_of
from assay.data.label_lines import label_says
from assay.data.model_trust import trusting
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.records.lines import decode
from assay.records.loaded_back import runs_own_code
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_file import fitted_to
from assay.rewards.fitted import Fitted, writable
from assay.rewards.http import TIMEOUT
from assay.rewards.load import open_reward
from assay.rewards.text_scorer import TextReward

log = logging.getLogger("assay")
__all__ = ["RewardEnsemble", "fit_reward", "load_reward"]


def fit_reward(
    pairs: Any,
    *,
    base: Any = "words",
    tokenizer: Any = None,
    out: str | Path | None = None,
    held_out: Any = None,
    out_of_fold: str | Path | None = None,
    members: int = 5,
    score: str | None = None,
    folds: int | None = None,
    held_out_share: float | None = None,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[Any, Any] | None = None,
    split: str | None = None,
    templated: tuple[str, ...] = (),
    frozen: bool = False,
    pooling: str = "mean",
    resample: str = "leave-out",
    ridge: float | None = None,
    smoothing: float = 0.0,
    centre: float = 0.01,
    epochs: float = 1.0,
    batch_size: int = 16,
    learning_rate: float = 2e-5,
    lora: int = 0,
    max_length: int = 1024,
    pairs_a_prompt: int = 16,
    limit: int | None = None,
    drop: bool = False,
    lam: float = 0.5,
    seed: int = 0,
    trust_remote_code: bool = False,
) -> RewardEnsemble:
    """Fit a reward ensemble to preference pairs or scored responses.

    It does what `assay fit` does, and its arguments are that command's flags.

    Args:
        pairs: Preference pairs with the columns prompt, chosen and rejected (texts or
            conversations), or scored responses: a file, a hub name, a list of dicts, a
            `datasets.Dataset` or a pandas DataFrame.
        base: "words" (no model), or a transformers model: a folder, a name on the hub, or a model
            in memory, which is left as it is: the members are fitted to copies.
        tokenizer: The tokenizer of a model in memory.
        out: The folder to write, which must not exist; None keeps the reward in memory.
        held_out: Pairs that evaluate the fit and are never trained on. Their prompts that are also
            in `pairs` are left out of the evaluation.
        out_of_fold: A file to write, in which every row is scored by members that never saw its
            prompt.
        members: Members of the ensemble.
        score: The column of scored responses; they are compared within prompts only.
        folds: Parts of the cross-validation by prompt; 0 for none; by default 5 (at most the
            prompts), and none for whole models and with held-out pairs.
        held_out_share: The share of prompts that evaluates the fit and that no member sees; by
            default 0.1 for whole models that have neither folds nor held-out pairs, else 0.
        columns: The file's column for each part, such as prompt=question.
        label_map: What the label column's values stand for, such as 1=first,0=second: first,
            second, tie, drop, or the probability that the first one is better; for scores numbers.
        split: The split of a dataset that has several.
        templated: Parts of the rows that a chat template wrote already, such as prompt: their
            special tokens are special tokens, and no template is applied.
        frozen: Fit a linear head on the base's frozen features.
        pooling: The features of a frozen base: mean (over the completion), cls or last (token).
        resample: How members differ: leave-out (each misses its own M-th of the prompts), bootstrap
            or none.
        ridge: The weight of ‖w‖² in a linear fit; 1 by default.
        smoothing: The share of labels taken as wrong, from 0 to 0.5.
        centre: The weight of (chosen + rejected)² in the Bradley–Terry loss.
        epochs: Passes over the pairs, of a whole model.
        batch_size: Pairs an update, of a whole model.
        learning_rate: Of a whole model.
        lora: The rank of LoRA adapters, merged at the end; 0 to train all weights.
        max_length: Tokens of prompt and completion together; longer ones are not fitted.
        pairs_a_prompt: Pairs that a whole model gets from a prompt's scored responses.
        limit: The longest row, in characters.
        drop: Leave faulty rows out and count them.
        lam: The weight of the variance in the uncertainty column of the out-of-fold file.
        seed: The seed of folds, resamples and training.
        trust_remote_code: Run Python code that comes with the base (auto_map) and kernels that its
            settings name.

    Returns:
        The reward. Its `evaluation` says how it does on prompts that it never saw.

    Raises:
        InputError: An argument, the labels or a row cannot be used.

    Example:
        >>> rows = [
        ...     {"prompt": f"Question {i}", "chosen": "A good answer.", "rejected": "A bad one."}
        ...     for i in range(12)
        ... ]
        >>> rm = fit_reward(rows, members=2)
        >>> rm
        RewardEnsemble(kind='linear text', members=2, base='words')
        >>> print(rm.evaluation.accuracy)
        1.000 [0.712, 1.000]
        >>> better, worse = rm.score(["Question 3"] * 2, ["A good answer.", "A bad one."]).mean(0)
        >>> bool(better > worse)
        True
    """
    given = dict(locals())
    known = flags.of(FitConfig, without=("base",))
    with in_python(), shown():
        values = {k: _typed(plain(given[k]), flag) for k, flag in known.items()}
        config = FitConfig(base="words", **values)
        if out is not None:
            writable(out)
        labels = source_of(pairs, split, "pairs")
        other = None if held_out is None else source_of(held_out, split, "held_out")
        found = _fitted(labels, config, base, tokenizer, held_out=other, out_of_fold=out_of_fold)
        if out is not None:
            with quiet_libraries():
                found.save(out)
    for line in label_says(found.about["label"]):
        log.info("assay: %s", line)
    return RewardEnsemble(found.reward, evaluation=found.evaluation, about=found.about)


def _typed(value: Any, flag: Flag) -> Any:
    """A setting of its type; None stays where it is a default."""
    return value if value is None or value == flag.default else flags.fitted(value, flag)


def _fitted(
    labels: str | Path | data.Source, config: FitConfig, base: Any, tokenizer: Any, **how: Any
) -> Fitted:
    """Fit to a base that has a name, or to a copy of a model in memory."""
    words = isinstance(base, str) and base == "words"
    if isinstance(base, (str, Path)):
        if tokenizer is not None:
            raise InputError(
                f"tokenizer goes with a model in memory, and base is '{base}', which has its own; "
                "leave tokenizer out"
            )
        named = dataclasses.replace(config, base=str(base))
        with quiet_libraries(models=not words):
            return fitted_to(labels, config=named, **how)
    from assay.rewards.frozen import FrozenReward
    from assay.rewards.live_models import is_model, name_of, write_copy

    if not is_model(base):
        raise InputError(
            f'base is a {type(base).__name__}; give "words", a folder or a name of a '
            "transformers model, or a model itself"
        )
    with quiet_libraries(models=True), tempfile.TemporaryDirectory() as folder:
        write_copy(base, tokenizer, folder)
        trust = config.trust_remote_code or runs_own_code(base)  # it has run already
        named = dataclasses.replace(config, base=folder, trust_remote_code=trust)
        found = fitted_to(labels, config=named, base=name_of(base), **how)
        if isinstance(found.reward, FrozenReward):
            found.reward.embedder.keep = True
        return found


def load_reward(
    name: Any,
    *,
    tokenizer: Any = None,
    reward_timeout: float = TIMEOUT,
    trust_remote_code: bool = False,
) -> RewardEnsemble:
    """Load a reward from wherever you have it.

    Args:
        name: A folder of `assay fit` or `RewardEnsemble.save`; a sequence classifier with one label
            (a folder, a name on the hub, or a model in memory, which is left as it is); the address
            of a server (`http://…`); a function, or `FILE.py:name` of one, that is called as
            TRL calls it: `function(prompts, completions, **columns)`.
        tokenizer: The tokenizer of a model in memory.
        reward_timeout: Seconds that one call of a server may take. A call that fails is
            repeated for 300 seconds at most, or for two timeouts where those are longer.
        trust_remote_code: Run Python code that comes with a model (auto_map) and kernels that its
            settings name.

    Returns:
        The reward.

    Raises:
        InputError: It is none of these, it is damaged, or it would run code.

    Example:
        >>> load_reward(lambda prompts, completions: [len(c) for c in completions])
        RewardEnsemble(kind='function', members=1, base='<lambda>')
    """
    if isinstance(name, RewardEnsemble):
        return name
    if isinstance(name, torch.nn.Module) and hasattr(name, "config"):
        from assay.rewards.live_models import live_reward, name_of

        return RewardEnsemble(live_reward(name, tokenizer), about={"base": name_of(name)})
    if tokenizer is not None:
        raise InputError("tokenizer goes with a model in memory; leave it out")
    spec = str(name) if isinstance(name, Path) else name
    if not (isinstance(spec, (str, TextReward)) or callable(spec)):
        raise InputError(
            f"a reward is a {type(spec).__name__}; give a folder, a name on the hub, an address, a "
            "function, or a sequence classifier"
        )
    named = isinstance(spec, str) and not spec.startswith(("http://", "https://"))
    with quiet_libraries(models=named and ".py" not in spec), trusting(trust_remote_code):
        reward = open_reward(spec, "reward", timeout=reward_timeout)
    record = Path(spec) / "fit.json" if isinstance(spec, str) else Path()
    cure = "fit the reward again"
    about = decode(record.read_bytes(), str(record), cure) if record.is_file() else {}
    if not about and isinstance(spec, str):
        about = {"base": spec}
    return RewardEnsemble(reward, about=about)
