"""The configuration of a watch: what follows from it, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from assay.errors import InputError
from assay.watch import Watch, WatchConfig


def test_labels_a_look_follow_from_the_looks() -> None:
    assert [WatchConfig().labels_per_look(n) for n in (1, 10, 30, 100, 400)] == [400, 40, 13, 4, 4]
    assert (
        WatchConfig(calm=7).labels_per_look(30) == 7
        and WatchConfig(looks=50).labels_per_look(1) == 8
    )
    assert (
        WatchConfig().make_detector(10).schedule.alert == 40
        and WatchConfig().make_detector(100).schedule.alert == 32
    )
    assert [WatchConfig().stretch_length(n) for n in (5, 30, 100)] == [1, 5, 8] and WatchConfig(
        kept=6
    ).stretch_length(100) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"budget": 0}, "--watch.budget is 0"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"delta": 0.5}, "delta is 0.5"),
        ({"flip": 0.6}, "flip is 0.6"),
        ({"uneven": True}, "give --watch.group"),
        ({"timeout": 0.0}, "--watch.timeout is 0.0"),
        ({"flip_least": 0.1}, "flip_least is 0.1"),
        ({"prior": "late"}, "prior is late"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        WatchConfig(**settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budjet": 3}, "^Watch has no budjet; did you mean budget\\?$"),
        ({"budget": True}, "^budget is True; it must be a whole number$"),
        ({"budget": 0}, "^budget is 0; it must be at least 1$"),
        ({"labeler": "nofile.py:x"}, "there is no file nofile.py"),
        ({"labeler": "peopel"}, "^labeler is 'peopel'; it is a function .* or one of gold"),
    ],
)
def test_a_watch_that_cannot_be_is_one_sentence_of_python(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Watch(**given)


def test_values_of_another_type_are_one_sentence() -> None:
    """In another process: the tests' own checks of types would be first."""
    code = """
from assay.watch import Watch
from assay.errors import InputError
for given in ({"budget": "30"}, {"alpha": None}, {"labeler": 3}):
    try:
        Watch(**given)
    except InputError as why:
        print(why)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "budget is '30'; it must be a whole number",
        "alpha is None; it must be a number",
        "labeler is 3; it is a function (prompts, first, second, **columns), or one of gold, "
        "FILE.py:name, csv, page and an address",
    ]


def test_a_watch_shows_its_labeler_and_what_differs_from_the_defaults() -> None:
    assert repr(Watch()) == "Watch(labeler='gold')"
    assert repr(Watch("csv", budget=30)) == "Watch(labeler='csv', budget=30)"
    assert Watch("judge:better").by == "judge:better", "of a record: another program has it"


def test_every_field_has_documentation_of_its_own() -> None:
    """Help and the manual are made from the docstring's attributes."""
    about = (WatchConfig.__doc__ or "").split("Attributes:")[1].split("Raises:")[0]
    documented = [line.split(":")[0].strip() for line in about.splitlines() if line[8:9].isalpha()]
    assert documented == [f.name for f in fields(WatchConfig)]


def test_it_is_read_without_torch() -> None:
    code = "import sys, assay.watch; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
