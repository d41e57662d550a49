"""MkDocs hooks: pages that lie outside docs/, notebooks as pages, and links out of the folder.

On a code host the links lead to the repository's files. The site holds some of these files as
pages; a link to another one becomes plain text, because the site does not contain it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("CLAIMS.md", "CHANGELOG.md", "CONTRIBUTING.md", "LOG.md")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^(```+|~~~+).*?^\2[ \t]*$|`[^`\n]+`)", re.M | re.S)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of other files."""
    for name in OUTSIDE:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=relinked(text, ROOT, Path(name))))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        name = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, name, content=as_markdown(notebook)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that leave docs/ into links to the site's pages, or into plain text."""
    if page.file.generated_by:
        return markdown
    return relinked(markdown, ROOT / "docs", Path(page.file.src_uri))


def relinked(markdown: str, folder: Path, page: Path) -> str:
    """The text of a page with links that hold inside the site.

    Args:
        markdown: The page's text.
        folder: The folder that `page` is relative to: docs/, or the repository's for a page from
            outside.
        page: The page.
    """

    def link(found: re.Match[str]) -> str:
        mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        if re.match(r"[a-z]+:", target) or target.startswith("/"):
            return found[0]
        path = (folder / page.parent / target).resolve()
        place = _in_site(path)
        if place is None:
            return text
        up = "../" * (len(page.parts) - 1)
        return f"{mark}[{text}]({up}{place}{anchor})"

    parts = FENCE.split(markdown)  # text, code, its fence, text, …
    return "".join(LINK.sub(link, p) if i % 3 == 0 else p for i, p in enumerate(parts) if i % 3 < 2)


def _in_site(path: Path) -> str | None:
    """A file's place in the site; None where the site does not hold it."""
    if path.suffix == ".ipynb":
        path = path.with_suffix(".md")  # the page that is made of it
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix()
    return path.name if path.parent == ROOT and path.name in OUTSIDE else None


def as_markdown(notebook: Path) -> str:
    """A notebook as a page: its text, its code, and the output that it had when it last ran."""
    import nbformat
    from nbconvert.exporters import MarkdownExporter

    found = nbformat.read(notebook, 4)
    for cell in found.cells:
        for output in cell.get("outputs", ()):
            page = output.get("data", {}).get("text/html")
            if page is not None:  # a block of its own, in which nothing is read as Markdown
                output.data["text/html"] = f"<div>\n{page}\n</div>"
    text, _ = MarkdownExporter().from_notebook_node(found)
    return text
