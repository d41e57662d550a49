"""A world's configuration is its signature, its documentation, its record and its cache key."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from assay.core import InputError, World
from assay.registry import catalogue
from assay.registry.from_config import from_config
from assay.worlds.calculator import CalculatorConfig
from assay.worlds.configuration import (
    arguments,
    check_choice,
    check_range,
    check_share,
)
from assay.worlds.flow import FlowConfig
from assay.worlds.grammar import GrammarConfig
from assay.worlds.hub import HubConfig
from assay.worlds.routing import RoutingConfig
from assay.worlds.sums import SumsConfig
from assay.worlds.table import TableConfig

CONFIGS = {
    "table": TableConfig,
    "grammar": GrammarConfig,
    "sums": SumsConfig,
    "calculator": CalculatorConfig,
    "routing": RoutingConfig,
    "flow": FlowConfig,
    "hub": HubConfig,
}


@dataclass(frozen=True, kw_only=True)
class Mine:
    """The arguments of a test.

    Attributes:
        file: A file.
        share: A share.
        names: Some names,
            on two lines.
        columns: A mapping.
    """

    file: str
    share: float = 0.5
    names: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


def made(config: Mine) -> World:
    """A world of a test."""
    raise InputError(f"{config.file} {config.share} {config.names}")


def test_a_function_of_a_configuration_takes_its_fields() -> None:
    world = from_config(Mine)(made)
    with pytest.raises(InputError, match=r"a 0\.5 \('b',\)"):
        world(file="a", names=("b",))
    with pytest.raises(TypeError, match="shares"):
        world(file="a", shares=1.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="file"):
        world()  # type: ignore[call-arg]


def test_its_signature_and_docstring_are_those_of_the_configuration() -> None:
    world = from_config(Mine)(made)
    found = inspect.signature(world).parameters
    assert {n: p.default for n, p in found.items()} == {
        "file": inspect.Parameter.empty,
        "share": 0.5,
        "names": (),
        "columns": {},
    }
    assert {p.kind for p in found.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert typing.get_type_hints(world)["names"] == tuple[str, ...]
    text = inspect.getdoc(world)
    assert text is not None and text.startswith("A world of a test.\n\nArgs:\n    file: A file.\n")
    assert "    names: Some names,\n        on two lines.\n" in text


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_world_documents_every_field(name: str) -> None:
    world, config = catalogue.load_world(name), CONFIGS[name]
    text = inspect.getdoc(world) or ""
    for parameter in inspect.signature(world).parameters:
        assert f"\n    {parameter}: " in text, f"{config.__name__} does not describe {parameter}"
    assert list(inspect.signature(world).parameters) == list(config.__dataclass_fields__)


@pytest.mark.parametrize(
    "config", [TableConfig(), GrammarConfig(), SumsConfig(), HubConfig(policy="p", stop=("a",))]
)
def test_arguments_are_plain_values(config: Any) -> None:
    found = arguments(config)
    assert json.loads(json.dumps(found)) == found
    assert list(found) == list(config.__dataclass_fields__)
    assert "seed" not in arguments(config, without=("seed",))


def test_checks_name_the_flag_as_it_is_typed() -> None:
    config = GrammarConfig()
    for check, said in (
        (lambda: check_range(config, "max_tokens", 40), "--world.max-tokens is 36; it must be at"),
        (lambda: check_range(config, "seed", 1, 2), "--world.seed is 0; it must be from 1 to 2"),
        (lambda: check_share(config, "sft_steps"), "--world.sft-steps is 300; it is a share"),
        (lambda: check_choice(TableConfig(), "mode", ("a", "b")), "'shared'; it is one of a, b"),
    ):
        with pytest.raises(InputError, match=said):
            check()  # type: ignore[no-untyped-call]
