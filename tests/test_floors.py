"""The architecture, read from the source: imports point strictly down, and some words belong to one
file alone.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "assay"
DESCEND = PACKAGE / "engine" / "descend.py"

# The folders from the ground up. A file imports its own folder's files and those of folders before
# its own in this list.
FOLDERS = [
    "errors",
    "registry",
    "stats",
    "formulas",
    "engine",
    "core",
    "data",
    "models",
    "records",
    "rewards",
    "watch",
    "loops",
    "recipes",
    "worlds",
    "report",
    "evaluation",
    "evidence",
    "interop",
    "cli",
    "__main__",
]
AT_THE_TOP = {"__init__", "__main__", "errors"}  # every other module lies in a folder
STDLIB = set(sys.stdlib_module_names)
ONLY = {  # what may be imported at all, beside assay itself
    "errors": STDLIB,
    "stats": STDLIB | {"numpy", "scipy"},
    "formulas": STDLIB | {"torch", "jaxtyping"},
    "registry": STDLIB,
    "recipes": STDLIB | {"torch", "jaxtyping"},
}
NEVER = {"data": {"torch", "transformers"}, "report": {"torch"}, "evaluation/compare": {"torch"}}
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


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of every import in a file, wherever it stands; `from assay.a import x` is
    assay.a.x.
    """
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}:{node.lineno} imports relatively; say assay.… so that the floor can be "
                "read"
            )
            module = node.module or ""
            inside = (
                module.split(".")[0] == "assay"
            )  # of ours, what is imported may be a module itself
            found += (
                [(node.lineno, f"{module}.{a.name}") for a in node.names]
                if inside
                else [(node.lineno, module)]
            )
    return found


def ours(path: Path) -> list[tuple[int, str]]:
    """(line, part) of every import of our own."""
    found = []
    for line, name in imports(path):
        words = name.split(".")
        if words[0] == "assay":
            second = words[1] if len(words) > 1 else "__init__"
            known = (PACKAGE / second).is_dir() or (PACKAGE / f"{second}.py").exists()
            found.append((line, second if known else "__init__"))  # `from assay import __version__`
    return found


def module(path: Path) -> str:
    """A file's dotted name."""
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


def known(name: str) -> str | None:
    """The module of ours that an imported dotted name belongs to, None if it is none of ours."""
    parts = name.split(".")
    while parts and parts[0] == "assay":
        path = ROOT.joinpath(*parts)
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return ".".join(parts)
        parts.pop()
    return None


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_module_lies_in_a_folder_of_the_list() -> None:
    assert {part(p) for p in files()} - {"__init__"} == set(FOLDERS), (
        "a new folder: give it its place in FOLDERS"
    )
    assert {p.stem for p in PACKAGE.glob("*.py")} == AT_THE_TOP


def test_imports_point_down_the_list() -> None:
    place = {"__init__": -1, **{name: i for i, name in enumerate(FOLDERS)}}
    wrong = [
        f"{where(p, line)} ({part(p)}) imports {other}, which stands above it"
        for p in files()
        for line, other in ours(p)
        if place[other] > place[part(p)]
    ]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    """Within a folder too: imports at the top, in functions and under TYPE_CHECKING form no circle."""
    graph = {
        module(p): {n for _, name in imports(p) if (n := known(name)) and n != module(p)}
        for p in files()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "a circle of imports: " + " → ".join(
            [*path[path.index(name) :], name]
        )
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_recipes_import_no_recipe_and_no_world() -> None:
    wrong = [
        where(p, line)
        for p in files()
        if part(p) == "recipes"
        for line, other in ours(p)
        if other in ("recipes", "worlds")
    ]
    assert wrong == []


def test_some_parts_import_little() -> None:
    wrong = []
    for p in files():
        for line, name in imports(p):
            top = name.split(".")[0]
            never = NEVER.get(part(p), set()) | NEVER.get(
                str(p.relative_to(PACKAGE).with_suffix("")), set()
            )
            if top != "assay" and (top not in ONLY.get(part(p), {top}) or top in never):
                wrong.append(f"{where(p, line)} imports {top}")
    assert wrong == []


def test_formulas_import_nothing_of_ours_but_each_other() -> None:
    wrong = [
        where(p, line)
        for p in files()
        if part(p) == "formulas"
        for line, other in ours(p)
        if other != "formulas"
    ]
    assert wrong == []


def is_study(path: Path) -> bool:
    """A paper that yields findings instead of a policy; it reads gold, and nothing optimises what
    it reads.
    """
    return part(path) == "recipes" and any(
        isinstance(n, ast.FunctionDef) and n.name == "study" for n in tree(path).body
    )


def test_only_those_who_may_name_the_world() -> None:
    """Everything else is gold-blind because it cannot even say the word. core defines it; a study
    is of a world.
    """
    may = {"core", "worlds", "evaluation", "evidence", "records/export", "cli", "interop"}
    wrong = []
    for p in files():
        for node in ast.walk(tree(p)):
            names = [getattr(node, "id", getattr(node, "attr", ""))]
            if isinstance(node, ast.ImportFrom):
                names = [a.name for a in node.names]
            here = {part(p), str(p.relative_to(PACKAGE).with_suffix(""))}
            if "World" in names and not here & may and not is_study(p):
                wrong.append(where(p, node.lineno))
    assert wrong == []


def calls(path: Path) -> list[tuple[int, str]]:
    """(line, the called name as written, dotted)."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            found.append((node.lineno, ast.unparse(node.func)))
    return found


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
        for node in ast.walk(tree(p))
        if isinstance(node, ast.keyword) and node.arg == "shell"
    ]
    assert wrong == []


def test_torch_s_global_stream_is_never_touched() -> None:
    """Randomness has an address; see rng.py. A drawing function that is handed a generator has one."""
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
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and node.args.kwarg
    ]
    assert wrong == []


def test_formulas_constants_go_by_keyword() -> None:
    """Tensors by position, constants by name; best-of-n's n of N reads as the literature writes it."""
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
