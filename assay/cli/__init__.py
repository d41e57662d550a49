"""The command line: `assay VERB …`. Exit codes: 0 done, 1 ran and failed, 2 wrong input, 3 waits
for labels, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from assay.cli import screen
from assay.cli.verbs import Verb, call
from assay.engine import memory
from assay.engine.signals import Terminated
from assay.errors import InputError, NotFinite, Waiting
from assay.registry.catalogue import nearest

GROUPS = ("Train", "Measure", "Your files", "Papers", "Shell")
VERBS = {
    v.name: v
    for v in (
        Verb("run", "run", "run_", "Train"),
        Verb("sweep", "sweep", "sweep_", "Train"),
        Verb("demo", "demo", "demo_", "Train"),
        Verb("watch", "watch", "watch_", "Measure"),
        Verb("watch status", "watch", "status_", "Measure"),
        Verb("watch export", "watch", "export_", "Measure"),
        Verb("watch import", "watch", "import_", "Measure"),
        Verb("watch page", "watch", "page_", "Measure"),
        Verb("report", "report", "report_", "Measure"),
        Verb("compare", "compare", "compare_", "Measure"),
        Verb("track", "track", "track_", "Measure"),
        Verb("export", "export", "export_", "Measure"),
        Verb("check", "files", "check_", "Your files"),
        Verb("fit", "files", "fit_", "Your files"),
        Verb("score", "files", "score_", "Your files"),
        Verb("bon", "files", "bon_", "Your files"),
        Verb("list", "listing", "list_", "Papers", "assay show {word} tells of one paper"),
        Verb("show", "listing", "show_", "Papers"),
        Verb("cite", "listing", "cite_", "Papers"),
        Verb("study", "study", "study_", "Papers"),
        Verb("claims", "claims", "claims_", "Papers", "assay claims --run {word} runs one"),
        Verb("manual", "docs", "manual_", "Papers"),
        Verb("completion", "completion", "completion_", "Shell"),
    )
}
QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}  # what a user set themselves holds
EVERYWHERE = ("-q", "--quiet", "--verbose")  # flags that every verb takes, wherever they stand


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def print_usage() -> None:
    """The verbs under their headings, with what each does."""
    from cyclopts import App, Group

    made = App(
        name="assay",
        help_format="plaintext",
        usage="Usage: assay COMMAND [OPTIONS]",
        help_flags=["--help", "-h"],
        version="",
        help="Optimise a policy against a reward, measure gold apart, and say when to stop.",
        help_epilogue="assay COMMAND --help lists the flags of a command. Every command takes "
        "--quiet and --verbose, and all that have a result take --json.",
    )
    options = Group("Options", sort_key=len(GROUPS))
    groups = {name: Group(name, sort_key=i) for i, name in enumerate(GROUPS)}
    for flag, about in (("--help", "Show this text."), ("--version", "Print the version.")):
        made[flag].group, made[flag].help = options, about
    for verb in VERBS.values():
        if " " not in verb.name:
            made.command(
                App(
                    name=verb.name,
                    help=verb.summary(),
                    group=groups[verb.group],
                    sort_key=list(VERBS).index(verb.name),
                )
            )
    made.help_print([])


def main(argv: Sequence[str]) -> int:
    """Run one command line.

    Args:
        argv: The words after `assay`.

    Returns:
        The exit code. What a user can mend is one sentence on stderr.
    """
    screen.quiet("-q" in argv or "--quiet" in argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a record may hold a lone surrogate
    verbose = "--verbose" in argv
    words = [a for a in argv if a not in EVERYWHERE]
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if verbose:
        logging.basicConfig(level=logging.INFO)
    try:
        return _dispatch(words)
    except Waiting as why:
        return _said(3, str(why))
    except InputError as why:
        return _said(2, str(why))
    except NotFinite as why:
        return _said(1, str(why))
    except KeyboardInterrupt as why:
        print(file=sys.stderr)
        return _said(
            143 if isinstance(why, Terminated) else 130, f"stopped{f'; {why}' if str(why) else ''}"
        )
    except BrokenPipeError:
        return _unread()
    except (
        FileNotFoundError,
        FileExistsError,
        NotADirectoryError,
        IsADirectoryError,
        PermissionError,
    ) as why:
        return _said(2, f"{why.filename}: {why.strerror}; give another place")
    except OSError as why:
        if why.errno not in DISK:
            traceback.print_exc()
            return _said(1, f"{type(why).__name__}: {why}")
        where = f"{why.filename}: " if why.filename else ""
        return _said(1, f"{where}{why.strerror}; give another place, or make room there")
    except Exception as why:
        traceback.print_exc()
        return _said(1, f"{type(why).__name__}: {why}")


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1:
            return _dispatch([*words[1:], "--help"])
        print_usage()
        return 0 if words else 2
    if words[0] == "--version":
        from assay import __version__

        print(__version__)
        return 0
    name = " ".join(words[:2]) if " ".join(words[:2]) in VERBS else words[0]
    if name not in VERBS:
        raise InputError(
            f"there is no command '{name}'{nearest(name, [v for v in VERBS if ' ' not in v])}"
        )
    verb, rest = VERBS[name], list(words[len(name.split()) :])
    if {"-h", "--help"} & set(rest):
        from assay.cli.parsing import app

        app(verb.grammar([w for w in rest if w not in ("-h", "--help")])).help_print([])
        return 0
    return call(verb, rest)


def _said(code: int, why: str) -> int:
    from assay.data.escape import visible

    print(f"assay: {visible(why)}", file=sys.stderr)  # it may quote a file that others wrote
    return code


def _unread() -> int:
    """What reads our output has gone, as `head` does: write no more, and raise nothing when Python
    ends.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def entry() -> None:
    """The console script."""
    memory.keep()
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _unread()
    sys.exit(code)
