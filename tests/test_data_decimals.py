"""Numbers of Parquet that are decimals, as databases write them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay import data
from assay.data.numbers import number
from assay.data.stream import stream


def test_a_margin_that_is_a_decimal_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    margins = pa.array([Decimal("1.10"), None, Decimal("2.50")])
    columns = {"prompt": ["a", "b", "c"], "chosen": ["x"] * 3, "rejected": ["y"] * 3}
    pq.write_table(pa.table({**columns, "margin": margins}), file)
    found = data.scan_file(file)
    assert not found.faults.errors
    assert [pair.margin for pair in (item for item, _ in stream(file, "pairs"))] == pytest.approx(
        [1.1, 0, 2.5]
    )


def test_a_decimal_that_no_float_holds_is_none() -> None:
    assert number(Decimal("0.25")) == 0.25
    assert number(Decimal("sNaN")) is None
