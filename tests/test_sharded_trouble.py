"""What goes wrong in one process of two: both end, and each says in one sentence why."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_sharded import Launch, given, words_of  # noqa: F401  # a fixture

pytest.importorskip("accelerate", reason="accelerate is not installed")
pytestmark = pytest.mark.full
REWARD = """
import os, signal
CALLS = []
def trouble(prompts, completions, **columns):
    CALLS.append(1)
    out = [float(len(c.split())) for c in completions]
    if os.environ["RANK"] == os.environ["TEST_IN"] and len(CALLS) >= 4:
        kind = os.environ["TEST_TROUBLE"]
        if kind == "raises":
            raise ValueError("the judge is gone")
        if kind == "nan":
            out[0] = float("nan")
        if kind == "term":
            os.kill(os.getpid(), signal.SIGTERM)
    return out
"""
LOST = "another process of this launch has ended"
GOES_ON = "stopped; go on with: assay run --resume"


@pytest.mark.parametrize(
    ("kind", "where", "codes", "said"),
    [
        ("raises", 1, (1, 2), (LOST, "reward trouble raised ValueError")),
        ("nan", 1, (2, 2), ("reward 'trouble' gave NaN",) * 2),
        ("term", 1, (1, 143), (LOST, GOES_ON)),
        ("term", 0, (143, 1), (GOES_ON, LOST)),
    ],
)
def test_both_end_and_say_why(
    given: dict[str, str],
    tmp_path: Path,
    kind: str,
    where: int,
    codes: tuple[int, int],
    said: tuple[str, str],
) -> None:
    (tmp_path / "troubled.py").write_text(REWARD, encoding="utf-8")
    words = words_of(given, "grpo", tmp_path / "run", judge=f"{tmp_path}/troubled.py:trouble")
    with Launch(
        tmp_path,
        {"run": [*words, "--fsdp", "--save-steps", "1"]},
        TEST_TROUBLE=kind,
        TEST_IN=str(where),
        ASSAY_PROCESS_TIMEOUT="120",
    ) as launch:
        ended = launch.ended()
    assert tuple(code for code, _ in ended) == codes, ended
    for (_, text), wanted in zip(ended, said, strict=True):
        lines = [line for line in text.splitlines() if line.startswith("assay: ")]
        assert len(lines) == 1 and wanted in lines[0], text
        assert "Traceback" not in text
