"""Rows as other trainers and providers write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from test_data_dialects import A, B, U, one, scan

from assay.data.turns import Turn


def test_thinking_parts_are_the_messages_thinking(tmp_path: Path) -> None:
    def thinks(*thoughts: str) -> dict[str, Any]:
        parts = [{"type": "thinking", "thinking": t, "signature": "s"} for t in thoughts]
        return {"role": "assistant", "content": [*parts, {"type": "text", "text": "42"}]}

    row = {"prompt": [U], "chosen": [thinks("one", "two")], "rejected": [thinks("three")]}
    found = scan(tmp_path, row)
    found.faults.stop()
    item = found.items[0]
    assert item.replies[0] == (Turn("assistant", "42").with_more(thinking="one\ntwo"),)
    assert item.replies[1] == (Turn("assistant", "42").with_more(thinking="three"),)
    assert dict(found.faults.unread) == {"message key 'signature'": 3}


def test_openrlhf_s_dialogue_column_is_the_prompt(tmp_path: Path) -> None:
    item = one(tmp_path, {"context_messages": [U], "chosen": [A], "rejected": [B]})
    assert item.prompt == "Hi" and item.turns == (Turn("user", "Hi"),)
