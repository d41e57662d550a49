"""What a record says of the process and of the files that made it."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path

import pytest

from assay.errors import InputError
from assay.records.lines import digest
from assay.records.provenance import provenance


def test_provenance_names_no_person_and_no_host() -> None:
    found = provenance()
    assert (
        found["versions"]["python"] == platform.python_version() and found["machine"]["cores"] >= 1
    )
    said = json.dumps(found["machine"])
    assert platform.node() not in said.split('"') and getpass.getuser() not in said.split('"')


def test_digest_knows_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # the SHA-256 of "abc", from FIPS 180-2, appendix B.1
    assert (
        digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    for name, files in {
        "one": {"x": b"1", "y": b"2"},
        "two": {"y": b"2", "x": b"1"},
        "three": {"x": b"2", "y": b"1"},
    }.items():
        (tmp_path / name).mkdir()
        for f, content in files.items():
            (tmp_path / name / f).write_bytes(content)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") != digest(tmp_path / "three")
    with pytest.raises(InputError, match="does not exist"):
        digest(tmp_path / "none")
