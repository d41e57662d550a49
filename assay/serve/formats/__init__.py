"""The request formats of other trainers' reward clients, one file each."""

from __future__ import annotations

from assay.serve.formats.openrlhf import OpenRLHF
from assay.serve.formats.sglang import SGLang
from assay.serve.formats.slime import Slime
from assay.serve.formats.vllm import VLLM
from assay.serve.item import Format

FORMATS: tuple[Format, ...] = (OpenRLHF(), VLLM(), SGLang(), Slime())

__all__ = ["FORMATS", "OpenRLHF", "SGLang", "Slime", "VLLM"]
