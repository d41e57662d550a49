"""What a shell completes, asked of the script itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_cli_config import printed
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)


def test_bash_completes_the_flags_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    """As in help, the flags are those of a model of your own; a flag's value is no recipe."""
    Path("c.bash").write_text(printed(capsys, "completion", "bash"))

    def completed(*words: str) -> list[str]:
        asked = f"source c.bash; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        told = subprocess.run(
            ["bash", "-c", asked + '_assay; echo "${COMPREPLY[@]}"'],
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout.split()

    flags = completed("assay", "run", "grpo", "--")
    assert {"--model", "--prompts", "--rewards", "--gold", "--lora", "--world"} <= set(flags)
    assert "--noise" not in flags and "--world.noise" not in flags
    assert completed("assay", "run", "grpo", "--dtype", "b") == ["bfloat16"]
    assert completed("assay", "run", "grpo", "--world", "t") == ["table"]
    assert completed("assay", "run", "gr") == ["grpo", "grpo_care", "grpo_guard"]


def test_a_script_needs_no_torch() -> None:
    """A shell asks for it at each start, and every verb is loaded for it."""
    asked = "import sys; from assay.cli import main; main(['completion', 'bash']); "
    heavy = "assert not {'torch', 'transformers'} & set(sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked + heavy], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
