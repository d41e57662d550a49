"""From records to one self-contained HTML file. Knows runs alone: no torch, no recipe, no world."""

from __future__ import annotations

from assay.report.figure import svg
from assay.report.page import build
from assay.report.results import summary

__all__ = ["build", "summary", "svg"]
