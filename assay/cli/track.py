"""track: a run's readings to the trackers that people look at."""

from __future__ import annotations

from assay.cli.endings import command, ending
from assay.errors import InputError
from assay.records import tracking
from assay.records.runs import Run
from assay.safe_text import json_text


def track_(
    run: str, *, to: list[str] | None = None, project: str = "assay", json_: bool = False
) -> int:
    """Send a run's readings to TensorBoard, trackio or wandb.

    Sends gold, kl, proxy, every reward model and the stats against the steps, and the run's
    arguments as its config. A reading that a tracker has is not sent again; TensorBoard's files
    (RUN/tensorboard) are made anew. `assay run … --track NAME` sends them as they come. Trackers
    need their packages: pip install '.[tensorboard]', '.[trackio]' or '.[wandb]', in a checkout.
    The exit code is 1 if a reading did not arrive.

    Args:
        run: The folder of one run.
        to: A tracker: tensorboard, trackio or wandb. May be given again.
        project: The project's name at the trackers.

    Example:
        assay track runs/grpo --to tensorboard
        assay track runs/grpo --to wandb --project hacking
    """
    if not to:
        raise InputError(f"assay track needs --to, one of {', '.join(tracking.TRACKERS)}")
    opened = Run.open(run)
    found = tracking.export(opened, to, project)
    if json_:
        print(json_text({"run": str(opened.folder), "trackers": found}))
    else:
        for name, counts in found.items():
            failed = f", {counts['failed']:,} failed" if counts["failed"] else ""
            print(f"{name}: {counts['sent']:,} readings sent{failed}")
        looks = {
            "tensorboard": command("tensorboard", "--logdir", opened.folder / "tensorboard"),
            "trackio": command("trackio", "show", "--project", project),
        }
        ending(*(("look at it", looks[name]) for name in found if name in looks))
    return 1 if any(c["failed"] for c in found.values()) else 0
