"""The order of the folders: who may import whom, and who may name the world."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from source_tree import PACKAGE, files, imports, known, module, ours, part, tree, where

# The folders from the ground up. A file imports its own folder's files and those of folders before
# its own in this list.
FOLDERS = [
    "safe_text",
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
    "audits",
    "evidence",
    "interop",
    "serve",
    "api",
    "cli",
    "__main__",
]
AT_THE_TOP = {"__init__", "__main__", "errors", "safe_text"}  # every other module lies in a folder
STDLIB = set(sys.stdlib_module_names)
ONLY = {  # what may be imported at all, beside assay itself
    "safe_text": STDLIB,
    "errors": STDLIB,
    "stats": STDLIB | {"numpy", "scipy"},
    "formulas": STDLIB | {"torch", "jaxtyping"},
    "registry": STDLIB | {"docstring_parser", "packaging"},
    "recipes": STDLIB | {"torch", "jaxtyping"},
}
NEVER = {
    "data": {"torch", "transformers"},
    "report": {"torch"},
    "evaluation/compare": {"torch"},
    "evaluation/compare_rows": {"torch"},
}


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
        if part(p) != "__init__"  # the public names, loaded when they are used
        and place[other] > place[part(p)]
    ]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    """Imports at the top, in functions and under TYPE_CHECKING form no circle, in folders too."""
    graph = {
        module(p): {n for _, name in imports(p) if (n := known(name)) and n != module(p)}
        for p in files()
        if part(p) != "__init__"  # its names are loaded when they are used
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, "a circle of imports: " + " → ".join(
            [*path[path.index(name) :], name]
        )
        if name not in done:
            for other in sorted(graph.get(name, ())):
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
    may = {"core", "worlds", "evaluation", "evidence", "records/export", "api", "cli", "interop"}
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
