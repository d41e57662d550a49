"""A folder that weights go to has a name that safetensors can read them under."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from test_cli_run import SMALL, _elsewhere, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.engine.os_errors import must_be_utf8
from assay.errors import InputError

NAME = os.fsdecode(b"b\xff\xfe")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")


def test_safetensors_reads_no_file_under_such_a_name() -> None:
    """The reason for the rule; where this fails, the rule can go."""
    Path(NAME).mkdir()
    (Path(NAME) / "w.safetensors").write_bytes(save({"w": torch.zeros(2)}))
    with pytest.raises(SafetensorError, match="not valid UTF-8"):
        safe_open(Path(NAME) / "w.safetensors", "pt")


@pytest.mark.parametrize(
    "words",
    [["run", "leave_one_out", *SMALL], ["sweep", "leave_one_out", *SMALL, "--seeds", "0"],
     ["fit", "pairs.jsonl"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_it_is_refused_before_anything_is_computed(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pairs.jsonl").write_text(
        "".join(f'{{"prompt": "{i}", "chosen": "a b", "rejected": "c"}}\n' for i in range(8))
    )
    said = refused(capsys, *words, "--out", NAME)
    assert "b⟨U+DCFF⟩⟨U+DCFE⟩" in said and said.endswith("not UTF-8, and weights could not be "
        "read back from there; give another --out")  # fmt: skip
    assert not Path(NAME).exists()


def test_an_export_is_refused_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "leave_one_out", *SMALL, "--out", "run"]) == 0
    assert "not UTF-8" in refused(capsys, "export", "run", "--out", NAME)


def test_every_name_of_text_is_taken() -> None:
    for name in ("runs/a b", "läufe/実行"):
        must_be_utf8(Path(name))
    with pytest.raises(InputError):
        must_be_utf8(Path("runs") / NAME / "a")
