"""Names of models: a folder here, the cache, the hub; each refusal is one sentence, at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assay.data import hub
from assay.errors import InputError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "unreachable", lambda: "the hub cannot be reached")
    monkeypatch.setattr(hub, "_cached", lambda name: name == "owner/cached")
    Path("smollm2").mkdir()
    Path("smollm2/config.json").write_text("{}")


def test_a_folder_is_read_without_asking_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "unreachable", asked)
    assert hub.local_only("smollm2", "--model is 'smollm2'")


def test_the_cache_stands_in_for_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.local_only("owner/cached", "")
    monkeypatch.setattr(hub, "unreachable", lambda: "")
    assert not hub.local_only("owner/cached", ""), "a hub in reach may have a newer one"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("smolm2", "M, and there is no folder smolm2 (did you mean smollm2?), the cache of"),
        ("owner/model", "M, and there is no folder owner/model, the cache of the hub holds no "),
        ("./smollm", "M, and there is no folder ./smollm (did you mean smollm2?); give a folder"),
        ("a/b/c", "M, and there is no folder a/b/c; give a folder that save_pretrained wrote"),
        ("owner/model", "and the hub cannot be reached; give a local folder, or try again"),
    ],
)
def test_what_is_nowhere_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        hub.local_only(name, "M")


def test_a_long_reason_ends_with_a_word() -> None:
    said = str(hub.refused("x", "M", OSError("word " * 100)))
    assert re.search(r"\(OSError: (word )+…\); give a folder", said)
    assert len(said) < 300


def test_what_the_hub_says_of_a_name_is_told() -> None:
    class RepositoryNotFoundError(Exception):
        """As the hub's client names it."""

    class GatedRepoError(Exception):
        """As the hub's client names it."""

    why = OSError("twelve lines")
    why.__cause__ = RepositoryNotFoundError()
    assert "neither a folder here nor a public model" in str(hub.refused("x", "M", why))
    why.__cause__ = GatedRepoError()
    assert "ask for access on its page" in str(hub.refused("x", "M", why))


def test_an_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.unreachable.cache_clear()
    try:
        assert "HF_HUB_OFFLINE" in hub.unreachable()
    finally:
        hub.unreachable.cache_clear()
