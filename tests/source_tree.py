"""The package's source files, their imports and their calls, read without running them."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "assay"


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


def calls(path: Path) -> list[tuple[int, str]]:
    """(line, the called name as written, dotted)."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            found.append((node.lineno, ast.unparse(node.func)))
    return found
