"""A griffe extension: `Example:` in our docstrings is a section of examples, shown as code.

griffe knows the section as `Examples:`; under another name its lines would be read as prose, and
`[0, 1]` in an output as a link.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^Example:$", re.M)


class Examples(griffe.Extension):
    """Renames the section before the docstring is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """See the module."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub("Examples:", obj.docstring.value)
