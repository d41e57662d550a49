"""A folder of adapters is no model: training would change what no export can write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from families import checkpoint

from assay.data.hub import local_only
from assay.errors import InputError


@pytest.mark.parametrize("whole", [False, True])
def test_adapters_are_refused_as_a_model(whole: bool, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", "llama")
    assert local_only(str(folder), "--model is 'model'")
    if not whole:
        (folder / "config.json").unlink()
    about = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"an adapter of org/base and not a whole model; load it"):
        local_only(str(folder), "--model is 'model'")
