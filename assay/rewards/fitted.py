"""What a fit came to, and its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.engine.atomic import is_free_folder, write_bytes
from assay.engine.os_errors import must_be_utf8, writing_to
from assay.errors import InputError
from assay.records import runs
from assay.rewards.evaluation import Evaluation
from assay.rewards.loaded_back import PLAIN_ROWS, Rows, ScoreAgreement, save_reward


@dataclass(frozen=True)
class Fitted:
    """What a fit came to.

    Attributes:
        reward: The members.
        about: What was fitted and how well, as JSON can hold it.
        evaluation: How well the members do on prompts they never saw; None where there were none.
        rows: Some of the fitted texts, to compare a saved reward on.
    """

    reward: Any
    about: dict[str, Any]
    evaluation: Evaluation | None
    rows: Rows = PLAIN_ROWS

    def save(self, out: str | Path) -> ScoreAgreement:
        """Write the members and `fit.json` to a folder, if it gives the same scores.

        Returns:
            How close the scores of the folder are.

        Raises:
            InputError: The folder exists and is not empty, or gives other scores.
            NotWritten: The system refuses the folder; what was written is deleted.
        """
        writable(out)
        with writing_to(Path(out)):
            return save_reward(
                self.reward, out, self.rows, lambda folder: write_about(self.about, folder)
            )


def writable(out: str | Path) -> None:
    """Check that a folder is free for a fitted reward.

    Raises:
        InputError: It exists and is not empty, or its name is not UTF-8.
    """
    must_be_utf8(Path(out))
    if not is_free_folder(Path(out)):
        raise InputError(
            f"{out} exists and is not an empty folder, and a fitted reward is never overwritten; "
            "give another folder with -o"
        )


def write_about(about: Mapping[str, Any], out: str | Path) -> None:
    """Write what is known of a fit beside its reward.

    Args:
        about: The fit, as JSON can hold it.
        out: The reward's folder.
    """
    whole = {**about, **runs.provenance()}
    said = json.dumps(runs.plain(whole), indent=1, ensure_ascii=False) + "\n"
    write_bytes(Path(out) / "fit.json", said.encode())
