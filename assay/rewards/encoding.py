"""Text to a model's tokens: padding, BOS, EOS, templates and truncation, each made explicit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.data import hub
from assay.data.turns import Turn, Turns
from assay.errors import InputError
from assay.registry.live import opened

PAD = "<|pad|>"


@dataclass(frozen=True)
class Encoded:
    """One (prompt, completion) as tokens.

    Attributes:
        ids: The tokens.
        start: Where the completion begins.
        cut: How many tokens `max_length` left out.
    """

    ids: tuple[int, ...]
    start: int
    cut: int


@dataclass(frozen=True)
class Template:
    """How prompt and completion become one text.

    Attributes:
        form: "pair" (the tokenizer's own pair of sequences, as in BERT), "chat" (the tokenizer's
            chat template) or "plain" (prompt, a blank line, completion, end-of-text).
        max_length: The longest row, in tokens.
        segments: Whether the model wants to know which of the pair a token belongs to.
    """

    form: str
    max_length: int
    segments: bool  # the model wants to know which of the pair a token is of

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)


def open_tokenizer(base: str | Path) -> Any:
    """Open a base's tokenizer; code from the base is never run.

    Raises:
        InputError: The base has no tokenizer.
    """
    here = hub.local_only(str(base), f"'{base}' should name a model")
    from transformers import AutoTokenizer

    tokenizer = getattr(opened(base), "tokenizer", None)
    if tokenizer is not None:
        return copy.deepcopy(tokenizer)  # whoever opens it may add a padding token
    try:
        return AutoTokenizer.from_pretrained(
            str(base), trust_remote_code=False, local_files_only=here
        )
    except Exception as why:  # transformers and the hub raise many types for one thing
        raise hub.refused(str(base), f"{base} gives no tokenizer", why) from why


def all_there(info: dict[str, Any], what: str) -> None:
    """Check that a model's files hold all its weights: transformers draws missing ones at random.

    Args:
        info: What `from_pretrained(…, output_loading_info=True)` returned.
        what: The beginning of the message.

    Raises:
        InputError: Weights are missing.
    """
    lacking = sorted(info["missing_keys"])
    if lacking:
        some = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
        raise InputError(
            f"{what}, and its files lack {some}, so that random numbers would stand in; give a "
            "folder that was saved with all its weights, the head included"
        )


def open_model(kind: str, base: str | Path, **arguments: Any) -> Any:
    """Open a model by transformers' Auto class, from safetensors only, in float32, dropout off.

    Args:
        kind: The class's name.
        base: A folder or a name on the hub.
        arguments: Further arguments of `from_pretrained`.

    Returns:
        The model, or (model, info) where `output_loading_info` asks for it.

    Raises:
        InputError: There is no such model, or it is an encoder-decoder.
    """
    here = hub.local_only(str(base), f"'{base}' should name a model")
    import transformers

    try:
        with torch.random.fork_rng():  # what the base lacks is drawn from a global stream
            found = getattr(transformers, kind).from_pretrained(
                str(base),
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                local_files_only=here,
                **arguments,
            )
    except Exception as why:
        raise hub.refused(str(base), f"{base} gives no model", why) from why
    model = found[0] if isinstance(found, tuple) else found
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"{base} is an encoder-decoder; give an encoder or a decoder")
    model.eval()
    return found


def template_for(tokenizer: Any, config: Any, max_length: int) -> Template:
    """Choose the form that fits a tokenizer, and a limit that its model can hold.

    Args:
        tokenizer: The model's.
        config: The model's; with the tokenizer it may lower the limit of `max_length` tokens.
    """
    pair = tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None
    form = "pair" if pair else "chat" if getattr(tokenizer, "chat_template", None) else "plain"
    room = [max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        room.append(
            positions
            - (
                2
                if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert")
                else 0
            )
        )
    if 0 < tokenizer.model_max_length < 10**9:
        room.append(int(tokenizer.model_max_length))
    segments = (
        form == "pair"
        and "token_type_ids" in tokenizer.model_input_names
        and getattr(config, "type_vocab_size", 0) > 1
    )
    return Template(form, min(room), segments)


def dedicated_pad(tokenizer: Any, model: Any) -> str | None:
    """Give a decoder a padding token of its own, if it has none or pads with its end-of-text.

    A classification head reads the last token that is not padding, and would read the wrong one.

    Args:
        tokenizer: The tokenizer; it is changed.
        model: The model; its embeddings grow.

    Returns:
        What was done, for the user; None if nothing was.
    """
    said = None
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        why = (
            "no padding token"
            if tokenizer.pad_token_id is None
            else "padding with the end-of-text token"
        )
        tokenizer.add_special_tokens({"pad_token": PAD})
        grown = f"'{PAD}' was added, and the embeddings grew to {len(tokenizer)}"
        said = f"the tokenizer has {why}: {grown}"
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng():
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with (
            torch.no_grad()
        ):  # its row is never attended to; zeros keep the fit from depending on a global stream
            model.get_input_embeddings().weight[tokenizer.pad_token_id].zero_()
    model.config.pad_token_id = tokenizer.pad_token_id
    return said


def encode(
    tokenizer: Any, template: Template, prompt: str, response: str, turns: Turns | None = None
) -> Encoded:
    """Encode one completion after its prompt, with one BOS and one EOS whatever the tokenizer adds.

    Where both are too long, the prompt is cut from its beginning, and only then the completion
    from its end.

    Args:
        tokenizer: The tokenizer.
        template: How prompt and completion are put together.
        prompt: The prompt as text.
        response: The completion.
        turns: The prompt's conversation, for chat templates.

    Returns:
        The tokens.

    Raises:
        InputError: `template.max_length` leaves no room for a completion.
    """
    before, after, tail = _parts(tokenizer, template, prompt, response, turns)
    head = (
        before[:1]
        if before and before[0] in (tokenizer.cls_token_id, tokenizer.bos_token_id)
        else []
    )
    rest = before[len(head) :]
    room = template.max_length - len(head) - len(tail)
    if room < 1:
        raise InputError(
            f"--max-length {template.max_length} leaves no room for a completion; give more"
        )
    over = len(rest) + len(after) - room
    cut = max(0, over)
    least = 1 if template.form == "pair" else 0  # the separator that closes the prompt stays
    from_prompt = min(cut, max(0, len(rest) - least))
    rest, after = rest[from_prompt:], after[: len(after) - (cut - from_prompt)]
    return Encoded((*head, *rest, *after, *tail), len(head) + len(rest), cut)


def _parts(
    tokenizer: Any, template: Template, prompt: str, response: str, turns: Turns | None
) -> tuple[list[int], list[int], list[int]]:
    """Return (tokens up to the completion, the completion's, what closes it)."""
    if template.form == "pair":
        both = tokenizer(prompt, response, add_special_tokens=True, truncation=False, verbose=False)
        ids, of = list(both["input_ids"]), both.sequence_ids()
        own = [i for i, s in enumerate(of) if s == 1]
        first = own[0] if own else len(ids) - 1
        last = own[-1] + 1 if own else first
        return ids[:first], ids[first:last], ids[last:]
    if template.form == "chat":
        messages = [turn.message() for turn in (turns or (Turn("user", prompt),))]
        opening = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        whole = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": response}], tokenize=False
        )
        completion = whole[len(opening) :] if whole.startswith(opening) else response
        before = list(
            tokenizer(opening, add_special_tokens=False, verbose=False)["input_ids"]
        )  # the template writes its own BOS
        return (
            before,
            list(tokenizer(completion, add_special_tokens=False, verbose=False)["input_ids"]),
            [],
        )
    before = list(tokenizer(f"{prompt}\n\n", add_special_tokens=True, verbose=False)["input_ids"])
    end = tokenizer.eos_token_id
    if before and end is not None and before[-1] == end and end != tokenizer.bos_token_id:
        before = before[:-1]
    if tokenizer.bos_token_id is not None and before[:1] != [tokenizer.bos_token_id]:
        before = [tokenizer.bos_token_id, *before]
    return (
        before,
        list(tokenizer(response, add_special_tokens=False, verbose=False)["input_ids"]),
        [] if end is None else [end],
    )


def batched(
    rows: Sequence[Encoded], pad: int, *, segments: bool
) -> tuple[Int[Tensor, "b T"], Bool[Tensor, "b T"], Int[Tensor, "b T"] | None]:
    """Pad rows on the right, so that positions begin at 0 whatever stands beside a row.

    Args:
        rows: The rows.
        pad: The id of the padding token.
        segments: Whether segment ids are wanted.

    Returns:
        (ids, mask, segment ids or None).
    """
    T = max((len(r.ids) for r in rows), default=1)
    ids, mask = torch.full((len(rows), T), pad), torch.zeros(len(rows), T, dtype=torch.bool)
    kinds = torch.zeros(len(rows), T, dtype=torch.int64) if segments else None
    for i, r in enumerate(rows):
        ids[i, : len(r.ids)], mask[i, : len(r.ids)] = torch.tensor(r.ids, dtype=torch.int64), True
        if kinds is not None:
            kinds[i, r.start : len(r.ids)] = 1
    return ids, mask, kinds
