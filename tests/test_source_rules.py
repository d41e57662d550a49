"""House rules that the source text shows: one backward, no pickle, no global randomness."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from source_tree import PACKAGE, ROOT, calls, files, imports, known, ours, part, tree, where

from assay.registry import docstrings

DESCEND = PACKAGE / "engine" / "descend.py"
UNDECIDED = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "math",
    "types",
    "base",
    "tools",
}
CEILING = 300


def test_there_is_one_backward() -> None:
    wrong = [
        where(p, line)
        for p in files()
        for line, name in calls(p)
        if name.endswith(".backward") and p != DESCEND
    ]
    assert wrong == []
    assert sum(name.endswith(".backward") for _, name in calls(DESCEND)) == 1


def test_nothing_is_unpickled_or_evaluated() -> None:
    banned_modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    banned_calls = {
        "eval",
        "exec",
        "torch.load",
        "torch.save",
        "compile",
        "np.load",
        "numpy.load",
        "os.system",
        "__import__",
    }
    wrong = [
        f"{where(p, line)} imports {name}"
        for p in files()
        for line, name in imports(p)
        if name.split(".")[0] in banned_modules
    ]
    wrong += [
        f"{where(p, line)} calls {name}"
        for p in files()
        for line, name in calls(p)
        if name in banned_calls
    ]
    wrong += [
        f"{where(p, node.value.lineno)} runs a shell"
        for p in files()
        if p != PACKAGE / "cli" / "completion.py"  # there it is the shell a script is written for
        for node in ast.walk(tree(p))
        if isinstance(node, ast.keyword) and node.arg == "shell"
    ]
    assert wrong == []


def test_torch_s_global_stream_is_never_touched() -> None:
    """Randomness has an address; see rng.py. A function that is given a generator has one."""
    drawing = {
        "rand",
        "randn",
        "randint",
        "randperm",
        "multinomial",
        "normal",
        "bernoulli",
        "rand_like",
        "randn_like",
    }
    wrong = []
    for p in files():
        for node in ast.walk(tree(p)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                given = any(k.arg == "generator" for k in node.keywords)
                draws = (
                    name.startswith("torch.")
                    and name.removeprefix("torch.") in drawing
                    and not given
                )
                if draws or name == "torch.manual_seed":
                    wrong.append(f"{where(p, node.lineno)} calls {name}")
    assert wrong == []


def test_no_name_says_that_nobody_decided() -> None:
    assert [str(p.relative_to(ROOT)) for p in files() if p.stem in UNDECIDED] == []


@pytest.mark.parametrize("folder", ["assay", "tests"])
def test_no_file_is_too_long(folder: str) -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in sorted((ROOT / folder).rglob("*.py"))
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > CEILING
    }
    assert long == {}


def test_recipes_and_formulas_take_no_unnamed_arguments() -> None:
    """The signature is the configuration: **kwargs would hide a misspelt constant."""
    wrong = [
        where(p, node.lineno)
        for p in files()
        if part(p) in ("recipes", "formulas", "worlds")
        for node in ast.walk(tree(p))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        and node.args.kwarg
        and not _forwarded(node.args.kwarg)
    ]
    assert wrong == []


def _forwarded(argument: ast.arg) -> bool:
    """Whether these are keywords of another signature (`P.kwargs`), which refuses wrong ones."""
    return argument.annotation is not None and ast.unparse(argument.annotation) == "P.kwargs"


def test_formulas_constants_go_by_keyword() -> None:
    """Tensors go by position, constants by name; best-of-n's n and N are as in the literature."""
    wrong = []
    for p in files():
        if part(p) != "formulas":
            continue
        for node in tree(p).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                plain = [
                    a
                    for a in node.args.posonlyargs + node.args.args
                    if a.annotation and ast.unparse(a.annotation) in ("float", "int", "bool", "str")
                ]
                wrong += [
                    f"{where(p, a.lineno)} {node.name}({a.arg})"
                    for a in plain
                    if a.arg not in ("n", "N")
                ]
    assert wrong == []


def test_every_public_function_says_what_it_is() -> None:
    """A module, a public class, a public function at the top of a file: one exact sentence at
    least.
    """
    wrong = []
    for p in files():
        module = tree(p)
        if p.stem not in ("__init__", "__main__") and not ast.get_docstring(module):
            wrong.append(str(p.relative_to(ROOT)))
        for node in module.body:
            if (
                not isinstance(node, (ast.FunctionDef, ast.ClassDef))
                or node.name.startswith("_")
                or ast.get_docstring(node)
            ):
                continue
            if p.stem == "parallel" and node.name in ("rank", "world_size", "barrier"):
                continue  # the names of torch.distributed say it all
            wrong.append(f"{where(p, node.lineno)} {node.name}")
    assert wrong == []


def test_every_protocol_can_be_checked() -> None:
    """Annotations run in tests, and one that names a Protocol can only run if the Protocol is
    @runtime_checkable.
    """
    wrong = [
        f"{where(p, node.lineno)} {node.name}"
        for p in files()
        for node in ast.walk(tree(p))
        if isinstance(node, ast.ClassDef)
        and "Protocol" in [ast.unparse(b).split("[")[0] for b in node.bases]
        and "runtime_checkable" not in [ast.unparse(d) for d in node.decorator_list]
    ]
    assert wrong == []


def test_no_exception_is_swallowed() -> None:
    wrong = []
    for p in files():
        for node in ast.walk(tree(p)):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or all(isinstance(s, ast.Pass) for s in node.body)
            ):
                wrong.append(where(p, node.lineno))
    assert wrong == []


def test_the_reader_of_this_test_can_fail(tmp_path: Path) -> None:
    """The checks above see what they look for."""
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import torch\nfrom assay import core\ndef f(**k):\n    import pickle\n    "
        "loss.backward()\n"
    )
    assert imports(bad) == [(1, "torch"), (2, "assay.core"), (4, "pickle")]
    assert (
        ours(bad) == [(2, "core")]
        and known("assay.core.task.Loop") == "assay.core.task"
        and known("torch") is None
    )
    assert calls(bad) == [(5, "loss.backward")]


def test_docstrings_name_no_argument_that_a_function_lacks() -> None:
    wrong = list[str]()
    for path in files():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.FunctionDef):
                continue
            a = node.args
            given = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
            names = {f"{x.arg}" for x in given if x is not None}
            said = docstrings.parse(ast.get_docstring(node)).arguments
            wrong += [f"{where(path, node.lineno)} {name}" for name in said if name not in names]
    assert wrong == []
