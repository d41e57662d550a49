"""Evaluators that are asked yes or no about a text: a language model, a server, a classifier.

An evaluator is a function of questions, each a text, to the probability of yes. What it said of a
text is remembered, so a question is asked once.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from assay.data.http import JsonClient
from assay.errors import InputError

KEYS = ("ASSAY_JUDGE_KEY", "OPENAI_API_KEY")  # the first that is set is sent; never an argument
SAID = re.compile(r"[\W_]*(yes|no)\b", re.IGNORECASE)
WORDS = {"yes": ("yes", "Yes", " yes", " Yes"), "no": ("no", "No", " no", " No")}
LISTED = re.compile(r"^\s*(?:\d+[.):]|[-*•])\s*(.+?)[.;]?\s*$")
FEATURES = 1 << 14  # of a fitted classifier


@runtime_checkable
class YesNo(Protocol):
    """Says with what probability the answer to a question is yes.

    Attributes:
        name: What it is, for messages.
    """

    name: str

    def __call__(self, questions: Sequence[str]) -> list[float]: ...


@runtime_checkable
class Proposes(YesNo, Protocol):
    """An evaluator that can also write."""

    def write(self, request: str) -> str:
        """Return the reply to a request."""
        ...


class Remembered:
    """An evaluator that is asked once about each text.

    Args:
        evaluator: Who is asked.

    Attributes:
        known: What was said of each text.
    """

    def __init__(self, evaluator: YesNo):
        self.evaluator, self.name = evaluator, evaluator.name
        self.known: dict[str, float] = {}

    def __call__(self, questions: Sequence[str]) -> list[float]:
        new = [q for q in dict.fromkeys(questions) if q not in self.known]
        if new:
            self.known.update(zip(new, self.evaluator(new), strict=True))
        return [self.known[q] for q in questions]

    def write(self, request: str) -> str:
        """Return the evaluator's reply to a request.

        Raises:
            InputError: It cannot write.
        """
        if not isinstance(self.evaluator, Proposes):
            raise InputError(f"{self.name} cannot write; give a language model")
        return self.evaluator.write(request)


class ModelEvaluator:
    """A causal language model of transformers, asked by the log-probability of its next word.

    P(yes) is the probability of the first token of "yes" in any spelling, divided by that of "yes"
    and "no". A small model prefers one word whatever it is asked, so its log-odds on `blank`
    questions can be subtracted.

    Args:
        folder: A folder, or an id on the hub.
        batch: Questions a pass.
        blank: Questions without content; the mean of their log-odds is subtracted. None for none.

    Raises:
        InputError: The model cannot be opened, or its tokenizer begins yes and no alike.

    Source: subtracting what is said without content: Zhao et al., "Calibrate Before Use",
        arXiv:2102.09690, 2021.
    """

    def __init__(self, folder: str, *, batch: int = 16, blank: Sequence[str] | None = None):
        from assay.models.backbones.pretrained import Pretrained
        from assay.models.text_encoder import TextEncoder
        from assay.rewards.encoding import open_model, open_tokenizer

        tokenizer = open_tokenizer(folder)
        self.name, self.batch = folder, batch
        model = open_model("AutoModelForCausalLM", folder).requires_grad_(False)
        self.model, self.backbone = model, Pretrained(model)
        self.encoder, self.talks = TextEncoder(tokenizer), bool(tokenizer.chat_template)
        first = {w: {self.encoder.content(s)[0] for s in spelt} for w, spelt in WORDS.items()}
        both = first["yes"] & first["no"]  # a blank of its own, in some tokenizers
        self.words = [sorted(first[w] - both) for w in ("yes", "no")]
        if not all(self.words):
            raise InputError(f"the tokenizer of {folder} begins yes and no with one token")
        self.bias = 0.0
        if blank:
            self.bias = float(torch.tensor(self.log_odds(blank)).mean())

    def __call__(self, questions: Sequence[str]) -> list[float]:
        return [1 / (1 + math.exp(self.bias - x)) for x in self.log_odds(questions)]

    def log_odds(self, questions: Sequence[str]) -> list[float]:
        """log P(yes)/P(no) of each question, before anything is subtracted."""
        ids = [self._ids(q) for q in questions]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = [0.0] * len(ids)
        for start in range(0, len(order), self.batch):
            some = order[start : start + self.batch]
            logits = self._next([ids[i] for i in some])
            yes, no = (logits[:, w].logsumexp(-1) for w in self.words)
            for i, x in zip(some, (yes - no).tolist(), strict=True):
                out[i] = x
        return out

    def write(self, request: str, *, most: int = 96) -> str:
        """Return the most likely reply to a request, of at most so many tokens."""
        ids = torch.tensor([self._ids(request)])
        with torch.no_grad():
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False
            )
        return str(self.encoder.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))

    def _ids(self, text: str) -> list[int]:
        from assay.data.turns import Turn

        if self.talks:
            return self.encoder.prompt((Turn("user", text),))
        return self.encoder.prompt(f"{text}\nAnswer:")

    def _next(self, rows: list[list[int]]) -> Tensor:
        """Logits of the word after each row `[R, V]`."""
        length = max(map(len, rows))
        tokens = torch.tensor([[*r, *[0] * (length - len(r))] for r in rows])
        keep = torch.tensor([[True] * len(r) + [False] * (length - len(r)) for r in rows])
        nothing = tokens.new_zeros(len(rows), 1, 0)
        with torch.no_grad():
            hidden, last = self.backbone.hidden_states(tokens, keep, nothing, nothing.bool())
            return self.backbone.logits(hidden[last[:, 0, 0]])


class ServedEvaluator:
    """A model behind an OpenAI-compatible endpoint, asked by POST {url}/chat/completions.

    A reply that begins with neither yes nor no is no.

    Args:
        url: The endpoint's address, with or without /chat/completions.
        model: The name that the server knows the model by.
        at_once: Questions in flight.
        timeout: Seconds that one try may take.
        tries: Tries of one question in all.

    Attributes:
        unreadable: Replies that were neither yes nor no.

    Raises:
        InputError: `url` is not an address, or `model` is empty.
    """

    def __init__(
        self, url: str, model: str, *, at_once: int = 4, timeout: float = 60.0, tries: int = 6
    ):
        if not model:
            raise InputError(
                "an evaluator behind an address needs --judge-model, the name the server knows it "
                "by"
            )
        self.client = JsonClient(url, "judge", keys=KEYS, tries=tries, timeout=timeout)
        self.url = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self.model, self.at_once, self.name = model, at_once, f"{model} at {self.client.host}"
        self.unreadable, self._lock = 0, threading.Lock()

    def __call__(self, questions: Sequence[str]) -> list[float]:
        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(self._one, questions))

    def write(self, request: str, *, most: int = 96) -> str:
        """Return the server's reply to a request."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": request}],
            "temperature": 0,
            "max_tokens": most,
        }
        return str(self.client.request(body, "the question", _reply, url=self.url))

    def _one(self, question: str) -> float:
        found = said(self.write(question, most=512))
        if found is None:
            with self._lock:
                self.unreadable += 1
        return float(bool(found))


class FittedEvaluator:
    """A linear classifier of a question's words, fitted on questions that were answered.

    Words and pairs of words are crossed with the question's last line, so that each kind of
    question has weights of its own. They are hashed, so that the classifier is a vector of numbers.

    Args:
        weights: `[FEATURES + 1]`, the last one the intercept; from `fit`.
    """

    name = "fitted"

    def __init__(self, weights: Tensor):
        self.weights = weights

    @classmethod
    def fit(cls, questions: Sequence[str], answers: Sequence[bool]) -> FittedEvaluator:
        """Fit by logistic regression, yes and no weighing the same.

        Args:
            questions: The questions.
            answers: Whether the answer to each is yes.
        """
        from sklearn.linear_model import LogisticRegression

        weights = torch.zeros(FEATURES + 1, dtype=torch.float64)
        if len(set(answers)) < 2:  # nothing to tell apart: what was always said
            weights[-1] = 20.0 if any(answers) else -20.0
            return cls(weights)
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
        model.fit(_hashed(questions), list(answers))
        weights[:-1], weights[-1] = torch.from_numpy(model.coef_[0]), float(model.intercept_[0])
        return cls(weights)

    def __call__(self, questions: Sequence[str]) -> list[float]:
        odds = _hashed(questions) @ self.weights[:-1].numpy() + float(self.weights[-1])
        return [1 / (1 + math.exp(-max(-500.0, min(500.0, x)))) for x in odds.tolist()]


def _reply(reply: Any) -> str:
    """The text of a chat completion."""
    return str(reply["choices"][0]["message"]["content"] or "")


def _hashed(questions: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(analyzer=_parts, n_features=FEATURES).transform(questions)


def _parts(question: str) -> Iterator[str]:
    """Words and pairs of neighbouring words, each with its line's place and the last line."""
    *lines, asked = question.splitlines()
    yield asked
    for place, line in enumerate(lines):
        words = line.split()
        for word in (*words, *map(" ".join, pairwise(words))):
            yield f"{asked}|{place}|{word}"


def said(reply: str) -> bool | None:
    """Whether a reply says yes; None where it begins with neither yes nor no.

    Example:
        >>> said("**Yes**, it does."), said("No"), said("Nothing"), said("<think>no</think>\\nyes")
        (True, False, None, True)
    """
    found = SAID.match(reply.rpartition("</think>")[2])
    return None if found is None else found[1].lower() == "yes"


def listed(reply: str, most: int) -> list[str]:
    """The first entries of a list in a reply, each once.

    Example:
        >>> listed("Sure:\\n1. Pick up the key.\\n2) open the door\\n", 3)
        ['Pick up the key', 'open the door']
    """
    found = (LISTED.match(line) for line in reply.splitlines())
    return list(dict.fromkeys(m[1] for m in found if m))[:most]
