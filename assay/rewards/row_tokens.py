"""A prompt and its completion as a reward model's tokens, cut to its limit, and what was cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.data.turns import Turn, Turns
from assay.errors import InputError
from assay.models.text_encoder import Templated, TextEncoder
from assay.rewards.encoding import Template


@dataclass(frozen=True)
class Encoded:
    """One (prompt, completion) as tokens.

    Attributes:
        ids: The tokens.
        start: Where the completion begins.
        cut: How many tokens `max_length` left out.
        lost: How many of them are the completion's.
    """

    ids: tuple[int, ...]
    start: int
    cut: int
    lost: int = 0


def encode(
    encoder: TextEncoder,
    template: Template,
    prompt: str,
    response: str,
    turns: Turns | None = None,
    reply: Turns | None = None,
) -> Encoded:
    """Encode one completion after its prompt, with one BOS and one EOS whatever the tokenizer adds.

    Where both are too long, the prompt is cut from its beginning, and only then the completion
    from its end.

    Args:
        encoder: The tokenizer's.
        template: How prompt and completion are put together.
        prompt: The prompt as text.
        response: The completion as text.
        turns: The prompt's conversation, for chat templates.
        reply: The completion's turns, if it is more than the assistant's plain text.

    Returns:
        The tokens.

    Raises:
        InputError: `template.max_length` leaves no room for a completion, or the tokenizer or its
            chat template cannot write the row.
    """
    before, after, tail = _parts(encoder, template, prompt, response, turns, reply)
    tokenizer = encoder.tokenizer
    head = (
        before[:1]
        if before and before[0] in (tokenizer.cls_token_id, tokenizer.bos_token_id)
        else []
    )
    rest = before[len(head) :]
    room = template.max_length - len(head) - len(tail)
    cut = max(0, len(rest) + len(after) - room)
    least = 1 if template.form == "pair" else 0  # the separator that closes the prompt stays
    from_prompt = min(cut, max(0, len(rest) - least))
    lost = cut - from_prompt
    if room < 1 or (lost and lost == len(after)):
        raise InputError(
            f"--max-length {template.max_length} leaves no room for a completion; give more"
        )
    rest, after = rest[from_prompt:], after[: len(after) - lost]
    return Encoded((*head, *rest, *after, *tail), len(head) + len(rest), cut, lost)


Parts = tuple[list[int], list[int], list[int]]  # up to the completion, the completion, its closing


def _parts(
    encoder: TextEncoder,
    template: Template,
    prompt: str,
    response: str,
    turns: Turns | None,
    reply: Turns | None,
) -> Parts:
    if template.form == "pair":
        _note(encoder, reply, response)
        return _as_two(encoder, prompt, response)
    if template.form == "chat":
        return _through_template(encoder, prompt, response, turns, reply)
    _note(encoder, reply, response)
    tokenizer = encoder.tokenizer
    before = encoder.prompt(prompt if isinstance(prompt, Templated) else f"{prompt}\n\n")
    end = tokenizer.eos_token_id
    closes = before[-1:] == [end] and not isinstance(prompt, Templated)
    if closes and end != tokenizer.bos_token_id:
        before = before[:-1]
    if tokenizer.bos_token_id is not None and before[:1] != [tokenizer.bos_token_id]:
        before = [tokenizer.bos_token_id, *before]
    after = encoder.content(response)
    closed = isinstance(response, Templated) and after[-1:] == [end]
    return before, after, [] if end is None or closed else [end]


def _note(encoder: TextEncoder, reply: Turns | None, response: str) -> None:
    if reply is not None:
        encoder.chat.note(reply, response, templated=False)


def _as_two(encoder: TextEncoder, prompt: str, response: str) -> Parts:
    """Encode a row as the tokenizer's own pair of sequences."""
    tokenizer, marks = encoder.tokenizer, encoder.marks
    templated = isinstance(prompt, Templated) or isinstance(response, Templated)
    if templated or not tokenizer.is_fast or marks.first(prompt) or marks.first(response):
        before, between, after = encoder.around_two
        one, two = encoder.content(prompt), encoder.content(response)
        return [*before, *one, *between], two, after
    both = encoder.two(prompt, response)
    ids, of = list(both["input_ids"]), both.sequence_ids()
    own = [i for i, s in enumerate(of) if s == 1]
    first = own[0] if own else len(ids) - 1
    last = own[-1] + 1 if own else first
    return ids[:first], ids[first:last], ids[last:]


def _through_template(
    encoder: TextEncoder, prompt: str, response: str, turns: Turns | None, reply: Turns | None
) -> Parts:
    """Encode a row as the chat template writes it."""
    chat = encoder.chat
    if isinstance(prompt, Templated) or isinstance(response, Templated):
        before = encoder.prompt(
            prompt if isinstance(prompt, Templated) else turns or (Turn("user", prompt),)
        )
        end = chat.after_answer.rstrip()
        closed = isinstance(response, Templated) and end and response.rstrip().endswith(end)
        tail = [] if closed else encoder.rendered(chat.after_answer)
        return before, [*encoder.content(response), *tail], []
    asked = turns or (Turn("user", prompt),)
    said = reply or (Turn("assistant", response),)
    whole = (*asked, *said)
    if asked[-1].role == said[0].role == "assistant":  # it goes on with what it began
        begun = Turn("assistant", asked[-1].content + said[0].content, said[0].more)
        whole = (*asked[:-1], begun, *said[1:])
    hidden = chat.hidden(whole)
    # What a generation prompt opens, such as `<think>`, was not said: a row is what was said.
    opening = chat.text(asked, hidden, open_=True).removesuffix(chat.opens)
    text = chat.text(whole, hidden)
    chat.note(whole, text, hidden)
    before = encoder.rendered(opening, hidden)  # the template writes its own BOS
    if text.startswith(opening):  # its tokens are those of the whole, as transformers makes them
        ids = encoder.rendered(text, hidden)
        if ids[: len(before)] == before:
            return before, ids[len(before) :], []
        return before, encoder.joined(text[len(opening) :], hidden), []
    if reply is None:  # its generation prompt writes more than stands before what was said
        return before, encoder.content(response), []
    same = next((i for i, (a, b) in enumerate(zip(opening, text)) if a != b), len(text))
    return before, encoder.rendered(text[same:], hidden), []


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
