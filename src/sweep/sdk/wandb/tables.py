"""`wandb.Table`: rows and columns, kept as JSON in wandb's own form, `{"columns": […], "data": [[…], …]}`."""

from __future__ import annotations

from sweep.sdk.wandb._media import Media, WBValue
from sweep.sdk.wandb._values import friendly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from sweep.sdk.wandb._record import Record


class Table(WBValue):
    """A table. Cells hold any value; media in them become files beside it."""

    MAX_ROWS = 10_000
    MAX_ARTIFACT_ROWS = 200_000
    _type = "table-file"

    def __init__(
        self,
        columns: list[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: Any = True,
        allow_mixed_types: bool = False,
        log_mode: str | None = "IMMUTABLE",
    ) -> None:
        """`data` and `rows`: lists of rows, an array or a DataFrame. ValueError for a row of another length."""
        data = data if data is not None else rows
        frame = dataframe if dataframe is not None else data if hasattr(data, "iloc") else None
        self.log_mode = log_mode
        self.data: list[list[Any]] = []
        if frame is not None:
            columns = [str(name) for name in frame.columns]
            data = frame.values.tolist()
        elif hasattr(data, "tolist"):
            data = data.tolist()
        if columns is None:
            columns = (
                ["Input", "Output", "Expected"]
                if not data
                else [str(number + 1) for number in range(len(data[0]))]
            )
        self.columns = list(columns)
        for row in data or ():
            self.add_data(*row)

    def add_data(self, *data: Any) -> None:
        """Add a row. ValueError when it has not as many values as there are columns."""
        if len(data) != len(self.columns):
            raise ValueError(
                f"This table expects {len(self.columns)} columns: {self.columns}, found {len(data)}"
            )
        self.data.append(list(data))

    add_row = add_data

    def add_column(self, name: str, data: Any, optional: bool = False) -> None:
        """Add a column. ValueError when its length is not that of the table."""
        values = data.tolist() if hasattr(data, "tolist") else list(data)
        if self.data and len(values) != len(self.data):
            raise ValueError(f"Expected length of data to be {len(self.data)}, got {len(values)}")
        if not self.data and not self.columns:
            self.data = [[] for _ in values]
        elif not self.data:
            self.columns, self.data = [], [[] for _ in values]
        self.columns.append(name)
        for row, value in zip(self.data, values):
            row.append(value)

    def add_computed_columns(self, fn: Callable[[int, dict[Any, Any]], dict[str, Any]]) -> None:
        """Add the columns that `fn(number, row)` returns."""
        found = [fn(number, dict(zip(self.columns, row))) for number, row in enumerate(self.data)]
        for name in found[0] if found else ():
            self.add_column(name, [values[name] for values in found])

    def get_column(self, name: Any, convert_to: str | None = None) -> Any:
        """A column as a list, or with `"numpy"` as an array."""
        place = self.columns.index(name)
        values = [row[place] for row in self.data]
        if convert_to == "numpy":
            from importlib import import_module

            return import_module("numpy").array(values)
        return values

    def get_dataframe(self) -> Any:
        """The table as a DataFrame, where pandas is installed."""
        from importlib import import_module

        return import_module("pandas").DataFrame.from_records(self.data, columns=self.columns)

    def get_index(self) -> list[int]:
        """The numbers of the rows."""
        return list(range(len(self.data)))

    def index_ref(self, index: int) -> int:
        """The number of a row."""
        return index

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Numbers and rows."""
        return iter(list(enumerate(self.data)))

    def cast(self, col_name: Any, dtype: Any, optional: bool = False) -> Any:
        """Accepted: cells keep the values they have."""
        return dtype

    def set_pk(self, col_name: Any) -> None:
        """Accepted."""

    def set_fk(self, col_name: Any, table: Any, table_col: str) -> None:
        """Accepted."""

    def _as_json(self, record: Record, key: str, step: int) -> dict[str, Any]:
        return {
            "columns": friendly(self.columns),
            "data": [[_cell(v, record, key, step) for v in row] for row in self.data],
        }

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        import json

        text = json.dumps(self._as_json(record, key, step))
        file = Media(text.encode(), None, ".table.json", ncols=len(self.columns), nrows=len(self.data))
        file._type = self._type
        return {**file._stored(record, key, step), "log_mode": self.log_mode}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and (self.columns, self.data) == (other.columns, other.data)

    __hash__ = None  # type: ignore[assignment]


def _cell(value: Any, record: Record, key: str, step: int) -> Any:
    if isinstance(value, WBValue):
        return value._stored(record, key, step)
    if type(value).__module__.partition(".")[0] in ("matplotlib", "plotly", "PIL"):
        from sweep.sdk.wandb._logged import stored

        return stored(key, value, record, step)
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    return friendly(value)


class EvalTable(Table):
    """A table with the roles of its columns."""

    def __init__(
        self,
        columns: list[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: Any = True,
        allow_mixed_types: bool = False,
        log_mode: str = "IMMUTABLE",
        *,
        input_columns: list[str] | None = None,
        output_columns: list[str] | None = None,
        score_columns: list[str] | None = None,
        backend: Any = None,
        unsupported_media_mode: str = "stub",
    ) -> None:
        super().__init__(columns, data, rows, dataframe, dtype, optional, allow_mixed_types, log_mode)
        self._roles = {"input": input_columns, "output": output_columns, "score": score_columns}

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        roles = {name: list(columns) for name, columns in self._roles.items() if columns}
        return {**super()._stored(record, key, step), "roles": roles}


class JoinedTable(WBValue):
    """Two tables and the column that they share; both are kept."""

    def __init__(self, table1: Any, table2: Any, join_key: Any) -> None:
        self._tables, self._join_key = (table1, table2), join_key

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        parts = [
            _cell(table, record, f"{key}/{number}", step) for number, table in enumerate(self._tables, 1)
        ]
        return {"_type": "joined-table", "tables": parts, "join_key": friendly(self._join_key)}
