"""What a run came to, in the last lines of a command."""

from __future__ import annotations

from assay.records.runs import Run


def kept(run: Run) -> str:
    """The weights that a run holds, with their size.

    Args:
        run: A run that has read something.
    """
    size = sum(p.stat().st_size for p in run.folder.rglob("*.safetensors"))
    result = run.record.result
    files = [] if result is None else [result["best"]["file"], result["last"]["file"]]
    held = (
        ", ".join(dict.fromkeys(f for f in files if f)) or "no weights: the best is the reference"
    )
    return f"{held}{f' ({_megabytes(size)})' if size else ''}"


def done(run: Run) -> str:
    """What is possible with a run that is done, where it was to go on.

    Args:
        run: The run.
    """
    steps = run.record.loop.get("max_steps")
    made = f", all of its {steps} steps are made" if steps else ""
    return (
        f"{run.folder} is done already{made}, and the optimiser's state is dropped. For a longer "
        f"run: assay run --from {run.folder} --max-steps N --out FOLDER; for its policy: assay "
        f"export {run.folder} --out MODEL"
    )


def _megabytes(n: int) -> str:
    return f"{n / 1e6:,.1f} MB" if n >= 1e5 else f"{n / 1e3:,.1f} kB"
