"""Fit a general preference model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.api import flags
from assay.api.arguments import in_python, plain
from assay.api.progress import shown
from assay.api.reward_ensemble import source_of
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_preference import fitted_preference
from assay.rewards.fitted import Fitted, writable


class PreferenceModel:
    """A general preference model; called with texts, it says how likely the first is preferred.

    Args:
        fitted: What `assay fit --preference-dim` fits.
        folder: Where it is kept; None in memory.

    Attributes:
        about: What was fitted and how well it does beside Bradley–Terry, as in `fit.json`.
    """

    def __init__(self, fitted: Fitted, folder: Path | None = None):
        self._fitted, self.folder, self.about = fitted, folder, fitted.about

    def __call__(
        self,
        prompts: Sequence[str],
        first: Sequence[str],
        second: Sequence[str],
        **columns: Sequence[Any],
    ) -> list[float]:
        """Return P(first ≻ second) of R pairs of texts, from 0 to 1."""
        found: list[float] = self._fitted.reward.compare(prompts, first, second).tolist()
        return found

    def save(self, folder: str | Path) -> Path:
        """Write the folder that `preference` and `--preference` take.

        Raises:
            InputError: The folder exists and is not empty.
        """
        with in_python(), quiet_libraries():
            self._fitted.save(folder)
        self.folder = Path(folder)
        return self.folder

    def __repr__(self) -> str:
        says = (self.about["evaluation"] or {}).get("says", "not evaluated")
        return f"<preference model of {self.about['members']} members: {says}>"


def fit_preference(
    pairs: Any, *, dim: int = 2, out: str | Path | None = None, **settings: Any
) -> PreferenceModel:
    """Fit a general preference model, which may say that a beats b, b beats c and c beats a.

    It does what `assay fit --preference-dim` does.

    Args:
        pairs: Preference pairs or scored responses, as `fit_reward` takes them.
        dim: Coordinates of an embedding, two a plane: even and above 0.
        out: The folder to write, which must not exist; None keeps the model in memory.
        settings: Arguments of `fit_reward` that say how to read and fit: base (a name), members,
            folds, ridge, smoothing, frozen, pooling, columns, label_map, split, seed, …

    Returns:
        The model, which `train(preference=…)` takes.

    Raises:
        InputError: An argument, the labels or a row cannot be used.

    Example:
        >>> beats = {"rock": "scissors", "scissors": "paper", "paper": "rock"}
        >>> rows = [
        ...     {"prompt": f"Round {i}", "chosen": a, "rejected": b}
        ...     for i in range(12)
        ...     for a, b in beats.items()
        ... ]
        >>> model = fit_preference(rows, members=2, ridge=0.1)
        >>> p = model(["Round 3"] * 3, list(beats), list(beats.values()))
        >>> all(x > 0.5 for x in p)
        True
    """
    known = flags.of(FitConfig)
    with in_python(), shown():
        for name in settings:
            if name not in known:
                raise InputError(f"{name} is no argument; the settings are {', '.join(known)}")
        values = {
            k: v if v is None or v == known[k].default else flags.fitted(plain(v), known[k])
            for k, v in settings.items()
        }
        config = FitConfig(**values)
        if out is not None:
            writable(out)
        with quiet_libraries(models=config.base != "words"):
            labels: Any = source_of(pairs, config.split, "pairs")
            named = str(labels) if isinstance(labels, Path) else labels
            model = PreferenceModel(fitted_preference(named, dim=dim, config=config))
    if out is not None:
        model.save(out)
    return model
