"""Columns as a pandas DataFrame or a Parquet file.

The only place that imports pandas and pyarrow; both are extras, and an error says which to install.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from sweep.analysis.columns import Column

if TYPE_CHECKING:
    import pandas as pd


class MissingExtra(ImportError):
    """A package that only some people need is not installed; the message says how to get it."""


def to_frame(columns: Sequence[Column]) -> pd.DataFrame:
    """A DataFrame with one column each: numbers as `int64` and `float64` (`Int64` and `boolean` where whole numbers or
    booleans are missing), times as UTC timestamps, values of several types as they were. Raises MissingExtra."""
    pandas = _need("pandas", "a DataFrame needs pandas")
    frame: pd.DataFrame = pandas.DataFrame(
        {column.name: _series(pandas, column) for column in columns}, columns=[c.name for c in columns]
    )
    return frame


def write_parquet(columns: Sequence[Column], file: IO[bytes]) -> None:
    """Write columns as one Parquet file (zstd). Raises MissingExtra, and OSError as writing does."""
    arrow = _need("pyarrow", "Parquet needs pyarrow")
    parquet = import_module("pyarrow.parquet")
    types = {
        "bool": arrow.bool_(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "text": arrow.string(),
        "texts": arrow.list_(arrow.string()),
        "time": arrow.timestamp("ms", tz="UTC"),
    }
    arrays = [arrow.array(column.values, type=types[column.kind]) for column in columns]
    table = arrow.Table.from_arrays(arrays, names=[column.name for column in columns])
    parquet.write_table(table, file, compression="zstd")


def _series(pandas: Any, column: Column) -> Any:
    if column.kind == "time":
        return pandas.to_datetime(pandas.Series(column.values, dtype="Int64"), unit="ms", utc=True)
    if column.mixed is not None:
        return pandas.Series(column.mixed, dtype=object)
    gaps = any(value is None for value in column.values)
    kinds = {
        "bool": "boolean" if gaps else "bool",
        "int": "Int64" if gaps else "int64",
        "float": "float64",
        "texts": object,
    }
    return pandas.Series(column.values, dtype=kinds.get(column.kind))


def _need(module: str, why: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{why}, which is not here ({error}): pip install {module}") from None
