"""`import assay`: its names, loaded when they are used, each with arguments documented."""

from __future__ import annotations

import inspect
import io
import re
import subprocess
import sys

import pytest

import assay
from assay.registry.docstrings import parse

NAMES = {
    "fit_reward",
    "fit_preference",
    "load_reward",
    "RewardEnsemble",
    "RewardServer",
    "train",
    "open_run",
    "Run",
    "Watch",
    "sample_best_of_n",
    "best_of_n_curve",
    "sweep",
    "compare",
    "audit",
    "Audit",
}


def test_the_names_are_these_and_no_others() -> None:
    assert set(assay.__all__) == NAMES == set(dir(assay)) - {"__version__"}
    for name in NAMES:
        assert getattr(assay, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        assay.nothing  # noqa: B018


def test_importing_takes_no_torch() -> None:
    code = "import sys, assay; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_argument_is_documented(name: str) -> None:
    found = getattr(assay, name)
    about = inspect.getdoc(found) or ""
    assert re.search(r"^Example:", about, re.M) or name == "compare", f"{name} has no example"
    if inspect.isfunction(found):
        parameters = list(inspect.signature(found).parameters)
        said = parse(about, parameters).arguments
        assert set(parameters) == set(said), f"{name} documents {sorted(said)}"
        for part in ("Returns:", "Raises:"):
            assert re.search(rf"^{part}", about, re.M), f"{name} has no {part}"


def test_what_loads_for_seconds_is_said_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """And taken away when it is there; a program that writes to a file sees nothing."""
    for terminal, told in ((True, "assay: loading PyTorch and transformers\r"), (False, "")):
        shown = io.StringIO()
        monkeypatch.setattr(shown, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr(sys, "stderr", shown)
        monkeypatch.delitem(sys.modules, "torch")
        with assay._loading():
            pass
        assert shown.getvalue().startswith(told) and shown.getvalue().strip() == told.strip()
        monkeypatch.undo()
