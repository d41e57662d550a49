"""The script that makes stills live: Vega, Vega-Lite and vega-embed, as they drew the stills."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from importlib import metadata

from assay.data.cache import folder
from assay.engine.atomic import write_bytes

log = logging.getLogger("assay")
ENTRY = "window.vegaEmbed = vegaEmbed;"  # what the page calls


@cache
def library() -> str:
    """The script, as text that a page holds whole.

    Bundling takes about two seconds and depends on nothing but the version of vl-convert, so the
    result is kept in the cache folder.

    Returns:
        JavaScript without a closing script tag in it.
    """
    import vl_convert

    key = hashlib.sha256(ENTRY.encode()).hexdigest()[:8]
    kept = folder() / f"vega-{metadata.version('vl-convert-python')}-{key}.js"
    if kept.is_file():
        return kept.read_text("utf-8")
    script = str(vl_convert.javascript_bundle(ENTRY))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, script.encode())
    except OSError as why:
        log.warning("%s cannot be written (%s): the next report bundles it again", kept, why)
    return script
