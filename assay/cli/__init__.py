"""The command line: `assay VERB …`. Exit codes: 0 done, 1 ran and failed, 2 wrong input, 3 waits
for labels, 4 training has died, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from assay.api.suggestions import VERB_NAMES
from assay.cli import libraries, screen, streams
from assay.cli.environment import VARIABLES
from assay.cli.verbs import Verb, call
from assay.engine import memory, os_errors
from assay.engine.clean_stream import clean_streams
from assay.engine.signals import Terminated
from assay.errors import Collapsed, InputError, NotFinite, NotWritten, ProcessLost, Waiting
from assay.registry import catalogue
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
        Verb("verify", "verify", "verify_", "Measure"),
        Verb("check", "checking", "check_", "Your files"),
        Verb("fit", "files", "fit_", "Your files"),
        Verb("evaluate", "files", "evaluate_", "Your files"),
        Verb("score", "files", "score_", "Your files"),
        Verb("bon", "files", "bon_", "Your files"),
        Verb("audit", "audit", "audit_", "Your files"),
        Verb("serve", "serve", "serve_", "Your files"),
        Verb("list", "listing", "list_", "Papers", "assay show {word} tells of one paper"),
        Verb("show", "showing", "show_", "Papers"),
        Verb("cite", "listing", "cite_", "Papers"),
        Verb("study", "study", "study_", "Papers"),
        Verb("claims", "claims", "claims_", "Papers", "assay claims --run {word} runs one"),
        Verb("manual", "docs", "manual_", "Papers"),
        Verb("doctor", "doctor", "doctor_", "Shell"),
        Verb("completion", "completion", "completion_", "Shell"),
    )
}
EVERYWHERE = {  # flags that every verb takes, wherever they stand
    "--quiet": "Print results and errors alone, with every command (-q).",
    "--verbose": "Print logs and warnings of other libraries too, and tracebacks.",
}
SHORT = ("-q",)


def print_usage() -> None:
    """The verbs under their headings, with what each does."""
    from cyclopts import App, Group

    made = App(
        name="assay",
        help_format="plaintext",
        usage="Usage: assay COMMAND [OPTIONS]",
        help_flags=["--help", "-h"],
        version="",
        help="Optimise a policy against a reward, measure gold apart, and say when to stop.\n\n"
        "New here: assay demo shows the whole job in three minutes, and assay run --help begins "
        "with what a model of your own needs.",
        help_epilogue="assay COMMAND --help lists the flags of a command, with examples.\n\n"
        f"Environment variables: {', '.join(v.name for v in VARIABLES)}. assay doctor tells what "
        "each does, and its value here.",
    )
    options = Group("Options", sort_key=len(GROUPS))
    groups = {name: Group(name, sort_key=i) for i, name in enumerate(GROUPS)}
    for flag, about in (("--help", "Show this text."), ("--version", "Print the version.")):
        made[flag].group, made[flag].help = options, about
    for name, about in EVERYWHERE.items():
        made.command(App(name=name, help=about, group=options))
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
    made.help_print([], console=screen.results())


def main(argv: Sequence[str]) -> int:
    """Run one command line.

    Args:
        argv: The words after `assay`.

    Returns:
        The exit code. What a user can mend is one sentence on stderr.
    """
    quiet, verbose = bool({"-q", "--quiet"} & set(argv)), "--verbose" in argv
    screen.quiet(quiet)
    streams.prepare()
    libraries.hush(verbose, quiet)
    with clean_streams():
        return _main(argv, verbose)


def _main(argv: Sequence[str], verbose: bool) -> int:
    """Run one command line; everything it prints is visible text."""
    words = [a for a in argv if a not in EVERYWHERE and a not in SHORT]
    try:
        return _dispatch(words)
    except Waiting as why:
        return _said(3, str(why))
    except Collapsed as why:
        return _said(4, str(why))
    except NotWritten as why:
        if verbose:
            traceback.print_exc()
        return _said(2 if why.errno in os_errors.MENDED else 1, str(why))
    except InputError as why:
        if verbose:
            traceback.print_exc()
        return _said(2, str(why))
    except (NotFinite, ProcessLost) as why:
        return _said(1, str(why))
    except KeyboardInterrupt as why:
        print(file=sys.stderr)
        return _said(
            143 if isinstance(why, Terminated) else 130, f"stopped{f'; {why}' if str(why) else ''}"
        )
    except BrokenPipeError:
        return 1  # who reads has gone, and `streams.finish` writes no more
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as why:
        return _said(2, f"{why.filename}: {why.strerror}; give another place")
    except Exception as why:
        if (refused := os_errors.not_written(why)) is not None:
            return _said(2 if refused.errno in os_errors.MENDED else 1, str(refused))
        traceback.print_exc()
        return _said(1, f"{type(why).__name__}: {why}")


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1:
            return _dispatch([*words[1:], "--help"])
        print_usage()
        return 0 if words else 2
    if "--version" in words:  # with any command
        from assay import __version__

        print(__version__)
        return 0
    name = " ".join(words[:2]) if " ".join(words[:2]) in VERBS else words[0]
    if name not in VERBS:
        raise InputError(f"there is no command '{name}'{_meant(name)}")
    if any(".py" in w for w in words):
        from assay.records import own_code

        own_code.typed(*words)
    verb, rest = VERBS[name], list(words[len(name.split()) :])
    if {"-h", "--help"} & set(rest):
        from assay.cli.parsing import help_of

        help_of(verb.grammar(rest))
        return 0
    return call(verb, rest)


def _said(code: int, why: str) -> int:
    print(f"assay: {why}", file=sys.stderr)
    return code


def _meant(name: str) -> str:
    """What was meant by a command that is not there, as an addition to a sentence."""
    if field := VERB_NAMES.get(name.lower().replace("_", "-")):
        return f"; did you mean {field}? {VERBS[field].summary()}"
    if paper := next((e for e in catalogue.entries() if e.name == name), None):
        return f"; did you mean {catalogue.START[paper.verb].format(name)}?"
    return nearest(name, [v for v in VERBS if " " not in v])


def entry() -> None:
    """The console script."""
    memory.keep()
    if "--verbose" not in sys.argv and not sys.warnoptions:
        libraries.hush_warnings()
    try:
        code = main(sys.argv[1:])
    except BrokenPipeError:  # stderr's reader has gone too
        code = 1
    except SystemExit as why:  # rich ends the process where a pipe breaks
        code = why.code if isinstance(why.code, int) else 1
    sys.exit(streams.finish(code))
