"""A reward from wherever people have one: a folder of ours, a transformers model, a Python
function, a server. All read text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.errors import InputError
from assay.registry.catalogue import nearest
from assay.rewards.exact_match import PREFIX, Matched
from assay.rewards.function import FunctionReward, Turns, function_named
from assay.rewards.http import judge_at
from assay.rewards.linear_text import ABOUT, KIND, WordsReward


def load_reward(folder: str | Path) -> Any:
    """A reward that `assay fit` wrote, of whatever kind; it has `names` and `scores(prompts,
    responses, turns)`.
    """
    folder = Path(folder)
    about = folder / ABOUT
    if not about.is_file():
        raise InputError(
            f"{folder} is no fitted reward: it has no {ABOUT}; give the folder that `assay fit … "
            "-o` wrote"
        )
    try:
        kind = json.loads(about.read_text(encoding="utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError) as why:
        raise InputError(
            f"{about} is damaged ({type(why).__name__}); fit the reward again"
        ) from why
    if kind == KIND:
        return WordsReward.load(folder)
    from assay.rewards.encoder import WHOLE, ModelReward
    from assay.rewards.frozen import FROZEN, FrozenReward

    kinds: dict[str, Any] = {FROZEN: FrozenReward, WHOLE: ModelReward}
    if kind not in kinds:
        raise InputError(
            f"{about} holds a reward of kind '{kind}', which scores no "
            f"text{nearest(str(kind), [KIND, *kinds])}"
        )
    return kinds[kind].load(folder)


def open_reward(spec: str, flag: str) -> Any:
    """`FILE.py:name`, `http://host:port/path`, `match:COLUMN`, a folder that `assay fit` wrote, or
    a folder or hub name of an AutoModelForSequenceClassification with one logit. Raises InputError
    where it is none of these.
    """
    if spec.startswith(("http://", "https://")):
        return judge_at(spec, flag)
    if spec.startswith(PREFIX):
        return Matched(spec.removeprefix(PREFIX))
    if ".py:" in spec or spec.endswith(".py"):
        return function_named(spec, flag)
    if (Path(spec) / ABOUT).is_file():
        return load_reward(spec)
    from assay.rewards.encoder import ModelReward
    from assay.rewards.encoding import all_there, open_model, open_tokenizer, template_for

    if Path(spec).is_dir() and not (Path(spec) / "config.json").is_file():
        raise InputError(
            f"--{flag} is '{spec}', a folder with neither {ABOUT}, which assay fit writes, nor "
            "config.json, which transformers does"
        )
    tokenizer = open_tokenizer(spec)
    model, info = open_model("AutoModelForSequenceClassification", spec, output_loading_info=True)
    all_there(info, f"--{flag} is '{spec}', which was to be a classifier")
    if len(tokenizer) > (size := model.get_input_embeddings().num_embeddings):
        raise InputError(
            f"--{flag} is '{spec}', with a tokenizer of {len(tokenizer)} tokens and a model of "
            f"{size}: they do not belong together; give the tokenizer that was saved with it"
        )
    if model.config.num_labels != 1:
        raise InputError(
            f"--{flag} is '{spec}', a classifier of {model.config.num_labels} labels; a reward has "
            "one"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if (
        model.config.pad_token_id is None
    ):  # where a decoder's head looks for the last token that is not padding
        model.config.pad_token_id = tokenizer.pad_token_id
    template = template_for(tokenizer, model.config, 1 << 20)
    return ModelReward([model.requires_grad_(False)], tokenizer, template, (Path(spec).name,))


class Told:
    """Judges of text as one Reward of a policy's answers: by what the answer says, never by its
    ids.

    A judge's tokenizer is its own; what passes between is text, and the prompt is the one of the
    file, before any chat template. `rows`: the file's prompts (text, turns) and columns, which
    `samples.prompts.row` points into. `truncated`: the score of an answer that did not end, None
    for whatever it says so far.
    """

    def __init__(
        self,
        judges: Sequence[Any],
        prompts: Sequence[str],
        turns: Sequence[Turns | None],
        columns: Mapping[str, Sequence[Any]],
        *,
        truncated: float | None = None,
    ):
        self.judges, self.prompts, self.turns, self.columns, self.cut = (
            list(judges),
            prompts,
            turns,
            columns,
            truncated,
        )
        names = [n for j in judges for n in j.names]
        self.names = tuple(n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names))
        self.partial = any(j.partial for j in judges)

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        texts, here = samples.to("cpu").text(), samples.present
        at = here.nonzero().tolist()
        rows = samples.prompts.row.tolist()
        which = [rows[b] for b, _ in at]
        said = [texts[b][n] for b, n in at]
        each = []
        for judge in self.judges:
            ask = [self.prompts[r] for r in which], said
            if isinstance(judge, FunctionReward):
                columns = {k: [v[r] for r in which] for k, v in self.columns.items()}
                each.append(judge.scores(*ask, [self.turns[r] for r in which], columns))
            elif getattr(judge, "kind", "") == KIND:
                each.append(judge.scores(*ask))
            else:
                each.append(judge.scores(*ask, [self.turns[r] for r in which]))
        out = samples.logp.new_zeros(len(self.names), *here.shape)
        out[:, here] = torch.cat([e.to(out) for e in each])
        return (
            out
            if self.cut is None
            else torch.where(here & ~samples.ended, out.new_tensor(self.cut), out)
        )

    def only(self, members: Sequence[int]) -> Told:
        """These judges alone; a folder of several members is divided only as a whole."""
        edges, kept = 0, []
        for judge in self.judges:
            here = range(edges, edges + len(judge.names))
            edges = here.stop
            if set(here) <= set(members):
                kept.append(judge)
            elif set(here) & set(members):
                return _Some(self, members)
        one = Told(kept, self.prompts, self.turns, self.columns, truncated=self.cut)
        one.names = tuple(self.names[m] for m in members)
        return one if list(members) == sorted(members) else _Some(self, members)


class _Some(Told):
    """Some members of a folder that only scores as a whole."""

    def __init__(self, whole: Told, members: Sequence[int]):
        self.whole, self.members, self.partial = whole, list(members), whole.partial
        self.names = tuple(whole.names[m] for m in members)

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        return self.whole(samples)[self.members]
