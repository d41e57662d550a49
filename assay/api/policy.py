"""A trained policy for people: text in, text out, and a plain transformers model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from assay.api.arguments import in_python
from assay.core import Prompts, Rng, World
from assay.data.messages import Unreadable, turns_of
from assay.data.turns import Turns
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.models.as_transformers import pretrained_model, save, tokenizer_of
from assay.records.loaded_back import agreement
from assay.worlds.encoder import Encoder
from assay.worlds.prompts import PromptTable


class TrainedPolicy:
    """A policy of a run, from `Run.policy`.

    Attributes:
        step: The step whose weights it has; 0 for the model that the run began with.
        why: Why it is this step's.
    """

    def __init__(self, policy: Any, world: World, *, step: int, why: str, card: str = ""):
        self._policy, self._world, self.step, self.why = policy, world, step, why
        self._card = card
        self._model: Any = None

    def __repr__(self) -> str:
        return f"TrainedPolicy(step={self.step}, world={self._world.name!r}; {self.why})"

    @property
    def model(self) -> Any:
        """The policy as a plain transformers model, adapters merged; made at the first look.

        Raises:
            InputError: The world's policies are no language models.
        """
        if self._model is None:
            self._model = pretrained_model(self._policy)
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer; None where the world has one of its own kind."""
        return tokenizer_of(self._policy)

    def generate(
        self,
        prompts: str | Sequence[Any],
        *,
        n: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
        batch_size: int = 16,
    ) -> list[Any]:
        """Complete prompts as the run's own evaluations do: same template, same stop tokens.

        Args:
            prompts: Texts, or conversations (lists of messages with role and content). One text
                is a list of one.
            n: Completions for each prompt.
            temperature: Of sampling; the run's by default. Near 0 is greedy.
            max_tokens: Most tokens of a completion; the run's by default.
            seed: Of the sampling. A completion depends on the seed and on its place in the list.
            batch_size: Prompts at a time; it changes no completion.

        Returns:
            One text a prompt; with n > 1 a list of n texts a prompt.

        Raises:
            InputError: A prompt is neither, or the world's prompts are no text.
        """
        asked = [prompts] if isinstance(prompts, str) else list(prompts)
        changed = {
            k: v
            for k, v in (("temperature", temperature), ("max_tokens", max_tokens))
            if v is not None
        }
        policy = self._policy.copy(**changed) if changed else self._policy
        out: list[Any] = []
        with in_python(), torch.no_grad():
            encoded = self._encoded(asked)
            for at in range(0, len(asked), batch_size):
                rows = torch.arange(at, min(at + batch_size, len(asked)))
                texts = policy.sample(encoded[rows], n, Rng(seed)("generate")[rows]).text()
                out += texts if n > 1 else [t[0] for t in texts]
        return out

    def _encoded(self, asked: Sequence[Any]) -> Prompts:
        """Prompts as the world encodes its own."""
        turns = [_turns(p, i) for i, p in enumerate(asked)]
        policy, arguments = self._policy, self._world.arguments
        vocabulary = getattr(policy, "vocabulary", None)
        if vocabulary is None or not hasattr(vocabulary, "prompts"):
            raise InputError(
                f"the prompts of world {self._world.name} are no text, and nothing can be "
                "completed; generate works for language models"
            )
        if not hasattr(vocabulary, "tokenizer"):
            made: Prompts = vocabulary.prompts([str(p) for p in asked])
            return made
        table = PromptTable()
        for prompt, said in zip(asked, turns, strict=True):
            table.add("" if said else prompt, said, {})
        limit = 1 << 30  # no prompt is left out: the caller wants a completion of each
        encoder = Encoder(
            vocabulary, table, bool(arguments.get("chat", True)), limit, limit, policy.like.dtype
        )
        return encoder.prompts(range(len(asked)))

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model, its tokenizer and a model card as transformers loads them.

        Args:
            folder: The folder. Files of the same names in it are replaced.

        Returns:
            The folder.

        Raises:
            InputError: Loaded by plain transformers, it would be another model than this policy.
                Nothing is written then.
        """
        folder = Path(folder)
        with tempfile.TemporaryDirectory() as beside, quiet_libraries(models=True):
            save(self._policy, Path(beside))
            asked = self._world.held_out if len(self._world.held_out) else self._world.task.prompts
            agreement(self._policy, Path(beside), asked, name=folder)
            if self._card:
                (Path(beside) / "README.md").write_text(self._card, encoding="utf-8")
            shutil.copytree(beside, folder, dirs_exist_ok=True)
        return folder

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, **arguments: Any) -> str:
        """Upload the model, its tokenizer and the model card to the Hugging Face hub.

        Args:
            repo_id: The repository, such as owner/name; a missing one is created.
            private: Whether a new repository is private.
            arguments: Of huggingface_hub's `upload_folder`, such as token or commit_message.

        Returns:
            The address of the commit.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=arguments.pop("token", None))
        api.create_repo(repo_id, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            said = api.upload_folder(repo_id=repo_id, folder_path=folder, **arguments)
        return str(said)


def _turns(prompt: Any, i: int) -> Turns | None:
    """A conversation as turns; None for a text."""
    if isinstance(prompt, str):
        return None
    try:
        return turns_of(prompt)
    except Unreadable as why:
        raise InputError(f"prompts[{i}] is neither a text nor a list of messages: {why}") from why
