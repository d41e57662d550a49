"""Rewards from wherever people have them: a fitted folder, a classifier, a function, a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import PromptTexts, Samples
from assay.data.turns import Turns
from assay.engine import progress
from assay.errors import InputError
from assay.registry.functions import function_in_file
from assay.registry.live import PYTHON, Live
from assay.rewards import fitted_preference
from assay.rewards.exact_match import PREFIX, ExactMatch
from assay.rewards.final_answer import FinalAnswer
from assay.rewards.folder import ABOUT, describe
from assay.rewards.function import FunctionReward
from assay.rewards.http import TIMEOUT, reward_at
from assay.rewards.text_scorer import TextReward
from assay.rewards.text_steps import lines


def load_reward(folder: str | Path) -> Any:
    """Load a reward that `save` wrote, of whatever kind.

    Args:
        folder: The reward's folder, for example what `assay fit … -o` wrote.

    Returns:
        The reward.

    Raises:
        InputError: The folder holds no fitted reward, or a damaged one.
    """
    kind = describe(folder)["kind"]
    kinds = _kinds()
    if kind == fitted_preference.KIND:
        raise InputError(
            f"{folder} holds a general preference model, which compares two completions and scores "
            "none; give it as --preference, or fit a reward without --preference-dim"
        )
    if kind not in kinds:
        raise InputError(
            f"{Path(folder) / ABOUT} holds a reward of kind '{kind}', and this assay knows "
            f"{', '.join(kinds)}; fit the reward again"
        )
    return kinds[kind].load(folder)


def _kinds() -> dict[str, Any]:
    from assay.rewards import encoder, ensemble, frozen, linear_reward, linear_text

    return {
        linear_text.KIND: linear_text.LinearTextReward,
        frozen.KIND: frozen.FrozenReward,
        encoder.KIND: encoder.ModelReward,
        ensemble.KIND: ensemble.Ensemble,
        linear_reward.KIND: linear_reward.LinearReward,
    }


def load_text_reward(folder: str | Path) -> TextReward:
    """Load a fitted reward that scores text.

    Raises:
        InputError: The folder holds no fitted reward, or one that scores tokens alone.
    """
    found = load_reward(folder)
    if not isinstance(found, TextReward):
        kind = describe(folder)["kind"]
        raise InputError(
            f"{folder} holds a reward of kind '{kind}', which scores tokens and no text; give the "
            "folder that `assay fit … -o` wrote"
        )
    return found


def entries(value: Any, what: str) -> tuple[Any, ...]:
    """Return rewards as a tuple; one text, one function or one open reward is one entry.

    Args:
        value: A reward, or a sequence of them.
        what: The argument's name, for the message.

    Raises:
        InputError: `value` is neither.

    Example:
        >>> entries("judge.py:score", "rewards")
        ('judge.py:score',)
    """
    if isinstance(value, str | TextReward) or callable(value):
        return (value,)
    if isinstance(value, Sequence):
        return tuple(value)
    raise InputError(f"{what} is a {type(value).__name__}; give a list of rewards")


def open_reward(
    spec: str | Callable[..., Any] | TextReward, flag: str, *, timeout: float = TIMEOUT
) -> TextReward:
    """Open a reward of text.

    Args:
        spec: `FILE.py:name`, `http://host:port/path`, `match:COLUMN`, `answer:COLUMN`, a folder
            that `assay fit` wrote, a folder or hub name of an AutoModelForSequenceClassification
            with one logit, a function with TRL's signature, or a reward that is open already; also
            as a `Live` name.
        flag: The flag that gave it, for the messages.
        timeout: Seconds that one call of a server may take.

    Returns:
        The reward.

    Raises:
        InputError: It is none of these.
    """
    name = getattr(spec, "__name__", type(spec).__name__)
    if isinstance(spec, Live):
        name, spec = spec.rpartition(":")[2], spec.value
    if isinstance(spec, TextReward):
        return spec
    with progress.stage(f"loading {flag} {spec if isinstance(spec, str) else ''}".rstrip()):
        return _opened(spec, flag, name, timeout)


def _opened(spec: str | Callable[..., Any], flag: str, name: str, timeout: float) -> TextReward:
    if not isinstance(spec, str):
        return FunctionReward(spec, name)
    if spec.startswith(PYTHON):
        own = spec.removeprefix(PYTHON)
        raise InputError(
            f"--{flag} is '{own}', an object that only the Python program which began the run has; "
            f"go on there, and pass it again: assay.train(…, {flag}=…, resume=True)"
        )
    if spec.startswith(("http://", "https://")):
        return reward_at(spec, flag, timeout=timeout)
    if spec.startswith(PREFIX):
        return ExactMatch(spec.removeprefix(PREFIX))
    if spec.startswith(FinalAnswer.prefix):
        return FinalAnswer(spec.removeprefix(FinalAnswer.prefix))
    if ".py:" in spec or spec.endswith(".py"):
        return FunctionReward(function_in_file(spec, flag), spec.rpartition(":")[2])
    if (Path(spec) / ABOUT).is_file():
        return load_text_reward(spec)
    if Path(spec).is_dir() and not (Path(spec) / "config.json").is_file():
        raise InputError(
            f"--{flag} is '{spec}', a folder with neither {ABOUT}, which assay fit writes, nor "
            "config.json, which transformers writes; give a folder with one of them"
        )
    if not Path(spec).exists() and (spec.count("/") != 1 or spec.startswith((".", "/", "~"))):
        raise InputError(
            f"--{flag} is '{spec}', which does not exist here and is no hub name like owner/name; "
            "give a folder of assay fit, a folder or hub name of a sequence classifier, "
            "FILE.py:name, or http://…"
        )
    return _classifier(spec, flag)


def _classifier(spec: str, flag: str) -> TextReward:
    """Open a sequence classifier of transformers."""
    from assay.models.weights_read import all_there, check_finite, has_layers
    from assay.rewards.encoder import ModelReward
    from assay.rewards.encoding import open_model, open_tokenizer, template_for

    tokenizer = open_tokenizer(spec)
    model, info = open_model("AutoModelForSequenceClassification", spec, output_loading_info=True)
    what = f"--{flag} is '{spec}', which was to be a classifier"
    has_layers(model.config, what)
    all_there(info, what)
    check_finite(model, what)
    if len(tokenizer) > (size := model.get_input_embeddings().num_embeddings):
        raise InputError(
            f"--{flag} is '{spec}', with a tokenizer of {len(tokenizer)} tokens and a model of "
            f"{size}: they do not belong together; give the tokenizer that was saved with it"
        )
    if model.config.num_labels != 1:
        raise InputError(
            f"--{flag} is '{spec}', a classifier of {model.config.num_labels} labels; a reward has "
            "one: give a model with num_labels = 1"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:  # the head reads the last token that is not padding
        model.config.pad_token_id = tokenizer.pad_token_id
    template = template_for(tokenizer, model.config, 1 << 20)
    return ModelReward([model.requires_grad_(False)], tokenizer, template, (Path(spec).name,))


class TextRewards:
    """Rewards of text as one Reward of a policy's completions, which they read as text.

    A reward's tokenizer is its own; text passes between, and the prompt is that of the file, before
    any chat template. Prompts that know their own texts (`PromptTexts`) are read as these say.

    Args:
        rewards: The rewards.
        prompts: The file's prompts as text; `samples.prompts.row` points into them.
        turns: The conversation of each prompt, or None where it is plain text.
        columns: The file's other columns.
        truncated: The score of a completion that did not end; None to score its text.
    """

    def __init__(
        self,
        rewards: Sequence[TextReward],
        prompts: Sequence[str],
        turns: Sequence[Turns | None],
        columns: Mapping[str, Sequence[Any]],
        *,
        truncated: float | None = None,
    ):
        self.rewards, self.cut = list(rewards), truncated
        self.texts = PromptTexts(str, prompts, turns, columns)
        names = [n for r in rewards for n in r.names]
        self.names = tuple(n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names))
        self.partial = any(r.partial for r in rewards)

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        """Score completions; an absent one scores 0."""
        said, here = samples.to("cpu").text(), samples.present
        own = samples.prompts.decode
        read = own if isinstance(own, PromptTexts) else self.texts
        at, rows = here.nonzero().tolist(), samples.prompts.row.tolist()
        which, texts = [rows[b] for b, _ in at], [said[b][n] for b, n in at]
        asks, turns = [read.texts[r] for r in which], [read.turns[r] for r in which]
        columns = {k: [v[r] for r in which] for k, v in read.columns.items()}
        out = samples.logp.new_zeros(len(self.names), *here.shape)
        each = []
        for r in self.rewards:
            name = r.names[0] if len(r.names) == 1 else f"{len(r.names)} members"
            with progress.stage(f"scoring {len(texts):,} completions by {name}"):
                each.append(r.scores(asks, texts, turns, columns))
        out[:, here] = torch.cat([e.to(out) for e in each])
        if self.cut is None:
            return out
        return torch.where(here & ~samples.ended, out.new_tensor(self.cut), out)

    def step_of(self, samples: Samples) -> Int[Tensor, "B N T"]:
        """Return each token's step, see `text_steps.lines`."""
        return lines(samples)

    def only(self, members: Sequence[int]) -> TextRewards:
        """Select members. A reward with several is computed whole if any of them is selected."""
        edges, kept = 0, []
        for reward in self.rewards:
            here = range(edges, edges + len(reward.names))
            edges = here.stop
            if set(here) <= set(members):
                kept.append(reward)
            elif set(here) & set(members):
                return _Some(self, members)
        own = self.texts
        one = TextRewards(kept, own.texts, own.turns, own.columns, truncated=self.cut)
        one.names = tuple(self.names[m] for m in members)
        return one if list(members) == sorted(members) else _Some(self, members)


class _Some(TextRewards):
    """Some members of a reward that only scores as a whole."""

    def __init__(self, whole: TextRewards, members: Sequence[int]):
        self.whole, self.members, self.partial = whole, list(members), whole.partial
        self.names = tuple(whole.names[m] for m in members)

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        return self.whole(samples)[self.members]
