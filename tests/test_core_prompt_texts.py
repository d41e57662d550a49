"""Prompts read as in the file that they come from, wherever they go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from assay.core import PromptTexts, cat
from assay.data.turns import Turn
from assay.engine import checkpoint
from assay.worlds.arithmetic import VOCABULARY

TURNS = (Turn("system", "be brief"), Turn("user", "3 + 5"))
READ = PromptTexts(
    VOCABULARY.decode, ["two", "three"], [None, TURNS], {"answer": [4, 8], "other": ["a", None]}
)


def test_a_prompt_reads_as_its_file_says_and_completions_are_decoded(tmp_path: Path) -> None:
    """Also after rows were chosen, batches joined, and a carry saved and loaded."""
    plain = VOCABULARY.prompts(["2 + 2 :", "3 + 5 :"])
    assert plain.text() == ["2 + 2 :", "3 + 5 :"]
    made = replace(plain, decode=READ)
    assert made.text() == ["two", "three"]
    assert made[torch.tensor([1])].text() == ["three"]
    x = VOCABULARY.completions(made, [["4"], ["8"]])
    assert x.prompts.text() == ["two", "three"] and [t[0].strip() for t in x.text()] == ["4", "8"]
    assert cat([x[1:], x[:1]]).prompts.text() == ["three", "two"]
    checkpoint.save(tmp_path / "x.safetensors", {"x": x})
    again = checkpoint.load(tmp_path / "x.safetensors", made.decode)["x"]
    assert again.prompts.text() == ["two", "three"] and again.text() == x.text()


def test_columns_and_messages_are_those_of_the_row() -> None:
    assert READ.columns_of([1, 0]) == [{"answer": 8, "other": None}, {"answer": 4, "other": "a"}]
    assert READ.messages_of([0, 1]) == [
        [{"role": "user", "content": "two"}],
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": "3 + 5"}],
    ]
