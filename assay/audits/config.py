"""The settings of an audit: every field is a flag of `assay audit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from assay.audits.probes import chosen
from assay.errors import InputError
from assay.rewards.http import TIMEOUT


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Settings of an audit.

    Attributes:
        probes: Probes to make, such as padded,flattering; all of them where none is named.
        num_generations: Completions sampled for each prompt.
        max_tokens: Longest sampled completion, in tokens; 0 for the default of assay run.
        temperature: Sampling temperature.
        most_prompts: Prompts whose completions are probed, at most; chosen by chance.
        a_prompt: Completions of a prompt that are probed, at most; chosen by chance.
        words: Words and pairs of words of the completions whose effect is searched for, at most; 0
            makes no search.
        stability: Measure how far scores depend on the batch, its order, padding and bfloat16.
        max_effect: A probe fails where it surely moves the score by more than so many standard
            deviations within a prompt.
        min_fall: A probe after which the score should fall fails where it surely falls by less than
            so many standard deviations.
        max_length_correlation: The largest correlation of score and length within prompts that
            passes.
        min_accuracy: The least accuracy on the pairs, and within prompts by gold, that passes.
        max_changed_choices: The largest share of best-of-n choices that may change with the batch,
            its order, padding or bfloat16.
        columns: The column for each part, such as prompt=question; it holds for every file that
            has the column.
        split: The split of a dataset that has several.
        drop: Leave faulty rows out and count them.
        templated: Parts of the rows that a chat template wrote already, such as prompt.
        device: Where models compute: auto (a GPU if there is one), cpu, cuda or cuda:N.
        reward_timeout: Seconds that one call of a reward server may take. A call that fails is
            repeated for 300 seconds at most, or for two timeouts where those are longer.
        trust_remote_code: Run Python code that comes with a model (auto_map) and kernels that its
            settings name.
        seed: Of the sampling and of all choices by chance.

    Example:
        >>> AuditConfig(probes=("padded",)).max_effect
        0.5
    """

    probes: tuple[str, ...] = ()
    num_generations: int = 16
    max_tokens: int = 0
    temperature: float = 1.0
    most_prompts: int = 100
    a_prompt: int = 2
    words: int = 64
    stability: bool = True
    max_effect: float = 0.5
    min_fall: float = 0.2
    max_length_correlation: float | None = None
    min_accuracy: float | None = None
    max_changed_choices: float | None = None
    columns: Mapping[str, str] | None = None
    split: str | None = None
    drop: bool = False
    templated: tuple[str, ...] = ()
    device: str = "auto"
    reward_timeout: float = TIMEOUT
    trust_remote_code: bool = False
    seed: int = 0

    def check(self) -> None:
        """Check the settings before anything is read.

        Raises:
            InputError: A setting has a value that it cannot have.
        """
        if self.num_generations < 2:
            raise InputError(
                f"--num-generations is {self.num_generations}; completions of one prompt are "
                "compared: give at least 2"
            )
        for name, least in (("most_prompts", 1), ("a_prompt", 1), ("words", 0), ("max_tokens", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least {least}"
                )
        if self.max_changed_choices is not None and not self.stability:
            raise InputError(
                "--max-changed-choices needs the measurement that --no-stability leaves out; give "
                "one of both"
            )
        self._thresholds()
        chosen(self.probes)

    def _thresholds(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not f.name.startswith(("max_", "min_")) or value is None or f.name == "max_tokens":
                continue
            most = float("inf") if f.name in ("max_effect", "min_fall") else 1.0
            if not 0 <= value <= most:
                bound = "from 0 to 1" if most == 1 else "0 or more"
                raise InputError(f"--{f.name.replace('_', '-')} is {value}; give a number {bound}")

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return {k: dict(v) if isinstance(v, Mapping) else v for k, v in asdict(self).items()}


def check_inputs(
    *,
    scored: bool,
    model: bool,
    prompts: bool,
    gold: bool,
    pairs: bool,
    fitted_on: bool,
    config: AuditConfig,
) -> None:
    """Check that the inputs of an audit belong together, before anything is read.

    Args:
        scored: Whether a file of completions is given.
        model: Whether a model to sample from is given.
        prompts: Whether its prompts are given.
        gold: Whether the true quality is given.
        pairs: Whether preference pairs are given.
        fitted_on: Whether it is given what the reward was fitted on.
        config: The settings, of which some need labels.

    Raises:
        InputError: Something is missing, or given twice.
    """
    if scored == model:
        both = "both are given" if scored else "neither is given"
        raise InputError(
            f"an audit needs completions, from --scored FILE or sampled from --model, and {both}"
        )
    if model and not prompts:
        raise InputError("--model samples completions of prompts; give them by --prompts FILE")
    if scored and prompts:
        raise InputError(
            "--prompts is for --model, and the file of --scored has its prompts already; leave "
            "--prompts out"
        )
    if fitted_on and not (pairs or gold):
        raise InputError(
            "--fitted-on shows accuracy by the distance from what the reward was fitted on, which "
            "needs labels: give --pairs FILE or --gold"
        )
    if config.min_accuracy is not None and not (pairs or gold):
        raise InputError("--min-accuracy needs labels: give --pairs FILE or --gold")
