"""Keep what other libraries say to themselves away from users; what assay says stays."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

LIBRARIES = (
    "accelerate",
    "datasets",
    "huggingface_hub",
    "numpy",
    "peft",
    "safetensors",
    "scipy",
    "sklearn",
    "tokenizers",
    "torch",
    "transformers",
)


@contextmanager
def quiet_libraries(*, models: bool = False) -> Iterator[None]:
    """Hide the warnings of other libraries, and what transformers and its hub log on loading.

    Errors are raised as ever, and warnings of a user's own functions are shown. What is switched
    off here is switched on again at the end.

    Args:
        models: Whether models of transformers may be opened. Without them transformers, whose
            import takes seconds, is left alone unless it is imported already.

    Example:
        >>> with quiet_libraries():
        ...     warnings.warn_explicit("old name", FutureWarning, "x.py", 1, "sklearn.base")
    """
    with ExitStack() as until_the_end:
        until_the_end.enter_context(warnings.catch_warnings())
        if models or "transformers" in sys.modules:
            until_the_end.enter_context(_transformers_errors_only())
        names = "|".join((*LIBRARIES, "assay"))  # a warning may name its caller, which is assay
        warnings.filterwarnings("ignore", module=rf"({names})(\.|$)")
        yield


@contextmanager
def _transformers_errors_only() -> Iterator[None]:
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    log: Any = logging
    before, bars, hub_before = (
        log.get_verbosity(),
        log.is_progress_bar_enabled(),
        hub.get_verbosity(),
    )
    log.set_verbosity_error()
    log.disable_progress_bar()
    hub.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(before)
        hub.set_verbosity(hub_before)
        if bars:
            log.enable_progress_bar()
