"""The command line: `assay VERB …`. Exit codes: 0 done, 1 ran and failed, 2 wrong input, 3 waits
for labels, 130 stopped.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback

from assay.engine import memory
from assay.errors import InputError, NotFinite, Waiting
from assay.registry.catalogue import nearest

# verb: (module of this folder, what it does); the function is named like the verb, with an
# underscore
VERBS = {
    "list": ("listing", "the papers there are"),
    "show": ("listing", "one paper's file: what it is, its constants, its text"),
    "cite": ("listing", "papers as BibTeX"),
    "run": ("run", "run a recipe in a world and measure it"),
    "study": ("study", "run a study, a paper that yields findings and no policy"),
    "sweep": ("sweep", "run recipes over a grid of settings and seeds"),
    "watch": ("watch", "when to have stopped, and the pairs that people judge"),
    "report": ("report", "runs as one HTML file, or as JSON"),
    "compare": ("compare", "methods at one budget against plain, tuned and stopped baselines"),
    "claims": ("claims", "what the papers say, and what was found here"),
    "track": ("track", "a run's readings to TensorBoard, trackio or wandb"),
    "export": ("export", "a run's policy as a folder that transformers loads"),
    "manual": ("docs", "the papers' pages, written from their files"),
    "check": ("files", "what a data file is, and every fault in it"),
    "fit": ("files", "fit a reward ensemble to a file of preference pairs"),
    "score": ("files", "score a file's rows with a fitted reward"),
    "bon": ("files", "the best-of-n curve of a scored file"),
    "demo": ("demo", "the main job on the embedded world, in about three minutes"),
}

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}  # what a user set themselves holds


def usage() -> str:
    """The verbs, one a line."""
    rows = "\n".join(f"  {verb:<8}{about}" for verb, (_, about) in VERBS.items())
    return (
        f"usage: assay VERB …\n\n{rows}\n\n`assay VERB --help` says more; every verb takes --json."
    )


def main(argv: list[str]) -> int:
    """Run one command line; the exit code is returned, and errors a user can cause are one sentence
    on stderr.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        from assay import __version__

        print(__version__)
        return 0
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    verb, rest = argv[0], argv[1:]
    try:
        if verb not in VERBS:
            raise InputError(f"there is no verb '{verb}'{nearest(verb, VERBS)}")
        act = getattr(importlib.import_module(f"assay.cli.{VERBS[verb][0]}"), f"{verb}_")
        if {"-h", "--help"} & set(rest):
            print(inspect.getdoc(act))
            return 0
        return int(act(rest))
    except Waiting as why:
        print(f"assay: {why}", file=sys.stderr)
        return 3
    except InputError as why:
        print(f"assay: {why}", file=sys.stderr)
        return 2
    except NotFinite as why:
        print(f"assay: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as why:
        print(f"\nassay: stopped{f'; {why}' if str(why) else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nobody is left to be told
        return 1
    except (
        FileNotFoundError,
        FileExistsError,
        NotADirectoryError,
        IsADirectoryError,
        PermissionError,
    ) as why:
        print(f"assay: {why.filename}: {why.strerror}; give another place", file=sys.stderr)
        return 2
    except Exception as why:
        traceback.print_exc()
        print(f"assay: {type(why).__name__}: {why}", file=sys.stderr)
        return 1


def entry() -> None:
    """The console script."""
    memory.keep()
    sys.exit(main(sys.argv[1:]))
