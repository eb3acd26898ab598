"""`--filter EXPR` and `--sort KEY`: a small expression language over run records.

The expression is parsed by Python's `ast` and walked here; nothing is ever evaluated as Python. There is no arithmetic,
so `/`, `.` and `-` between names are part of a name: `summary.val/loss`, `config.weight-decay`. The rule of this file:
whatever the text is, the only error is `QueryError`, which says where and what would be right.
"""

from __future__ import annotations

import ast
import difflib
import json
import keyword
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sweep.analysis.history import as_number, same_name
from sweep.analysis.records import (
    GROUPS,
    PLAIN,
    Record,
    field_columns,
    flat,
    group_columns,
)
from sweep.analysis.usage import usage_columns
from sweep.core.views import RunView

__all__ = [
    "QueryError",
    "Record",
    "compile_filter",
    "names_of",
    "select",
    "select_runs",
    "sort_records",
]

_T = TypeVar("_T")
Predicate = Callable[[Record], bool]
_Getter = Callable[[dict[str, Any]], Any]

LONGEST = 2000
DEEPEST = 40
_STATES = ("queued", "assigned", "running", "paused", "completed", "failed", "pruned", "cancelled")
_WORDS: dict[str, Any] = {
    "none": None, "null": None, "true": True, "false": False, "nan": math.nan, "inf": math.inf,
}  # fmt: skip
_ABSENT = object()


class QueryError(ValueError):
    """The expression cannot be understood. `column` counts from 1."""

    def __init__(self, what: str, source: str, column: int) -> None:
        self.what, self.source, self.column = what, source, column
        super().__init__(what)

    def __str__(self) -> str:
        start = max(self.column - 60, 0)
        shown = "".join(c if c.isprintable() else " " for c in self.source[start : start + 120])
        caret = " " * (self.column - 1 - start) + "^"
        return f"column {self.column}: {self.what}\n  {shown}\n  {caret}"


def select(records: Iterable[Record], where: str | None = None, sort: str | None = None) -> list[Record]:
    """The records for which `where` holds, ordered by `sort` (`-objective`: descending). Raises QueryError."""
    found = list(records)
    if where is None and sort is None:
        return found
    pairs = [(row, flat(row, usage="usage" in f"{where} {sort}")) for row in found]
    names = _Names(_names_in(line for _, line in pairs))
    if where is not None:
        getter = _Compiler(where, names).boolean(_parse(where))
        pairs = [pair for pair in pairs if getter(pair[1])]
    if sort is not None:
        pairs = _sorted(pairs, sort, names)
    return [row for row, _ in pairs]


def select_runs(runs: Sequence[RunView], where: str | None, sort: str | None, now_s: float) -> list[RunView]:
    """`select` for runs: of their records only the fields that are asked for are made. Raises QueryError."""
    if where is None and sort is None:
        return list(runs)
    groups = {name: values for group in GROUPS for name, values in group_columns(runs, group).items()}
    if "usage" in f"{where} {sort}":
        groups |= usage_columns(runs, now_s)
    names = _Names([*PLAIN, *groups])
    getter = None if where is None else _Compiler(where, names).boolean(_parse(where))
    if sort is not None:
        names.sorted_by(sort)
    found = list(zip(runs, _flat_rows(runs, groups, names.used, now_s), strict=True))
    if getter is not None:
        found = [pair for pair in found if getter(pair[1])]
    if sort is not None:
        found = _sorted(found, sort, names)
    return [run for run, _ in found]


def _flat_rows(
    runs: Sequence[RunView], groups: Mapping[str, list[Any]], names: Iterable[str], now_s: float
) -> list[Record]:
    """Of the flat records of `runs` these fields only."""
    known = {
        name: groups[name] if name in groups else field_columns(runs, (name,), now_s)[0] for name in names
    }
    if not known:  # the filter names none
        return [{} for _ in runs]
    return [dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True)]


def names_of(records: Iterable[Record]) -> list[str]:
    """All names that can be used with these records: fields, `config.*`, `summary.*`."""
    return _names_in(map(flat, records))


def _names_in(lines: Iterable[Record]) -> list[str]:
    names: dict[str, None] = dict.fromkeys(PLAIN)
    for line in lines:
        if not names.keys() >= line.keys():
            names.update(dict.fromkeys(line))
    return list(names)


def compile_filter(source: str, names: Sequence[str]) -> Predicate:
    """The expression as a function of a record. `names` are those that exist (`names_of`); a config's or summary's
    value may be named without `config.` or `summary.` where that is unique. Raises QueryError."""
    tree = _parse(source)
    getter = _Compiler(source, _Names(names)).boolean(tree)
    return lambda row: bool(getter(flat(row)))


def sort_records(records: Iterable[Record], key: str, names: Sequence[str] | None = None) -> list[Record]:
    """Ordered by the field `key`, descending with a minus in front; numbers before words, records without a value (or
    with NaN) last either way. Equal ones keep their order. Raises QueryError for an unknown key."""
    pairs = [(row, flat(row)) for row in records]
    known = names if names is not None else _names_in(line for _, line in pairs)
    return [row for row, _ in _sorted(pairs, key, _Names(known))]


def _sorted(pairs: list[tuple[_T, Record]], key: str, names: _Names) -> list[tuple[_T, Record]]:
    """What belongs to flat records, ordered by these."""
    descending, name = key.startswith("-"), names.sorted_by(key)
    keyed = [(_sort_key(pair[1].get(name)), pair) for pair in pairs]
    with_value = [(place, pair) for place, pair in keyed if place is not None]
    with_value.sort(key=lambda one: one[0], reverse=descending)
    return [pair for _, pair in with_value] + [pair for place, pair in keyed if place is None]


# --- names -----------------------------------------------------------------------------------------------------


class _Names:
    """Finds what a person meant by a name."""

    def __init__(self, names: Sequence[str]) -> None:
        self.full = {same_name(name): name for name in names}
        self.used: dict[str, None] = {}
        """Those that were found so far."""
        self.short: dict[str, list[str]] = {}
        for name in self.full.values():
            group, _, rest = name.partition(".")
            if group in GROUPS and rest:
                self.short.setdefault(same_name(rest), []).append(name)

    def sorted_by(self, key: str) -> str:
        """What `--sort KEY` orders by."""
        return self.resolve(key.removeprefix("-").strip(), key, 1 + key.startswith("-"))

    def resolve(self, name: str, source: str, column: int) -> str:
        """The full name that `name` stands for."""
        found = self._resolve(name, source, column)
        self.used[found] = None
        return found

    def _resolve(self, name: str, source: str, column: int) -> str:
        wanted = same_name(name)
        if wanted in self.full:
            return self.full[wanted]
        found = self.short.get(wanted, [])
        if len(found) == 1:
            return found[0]
        if found:
            raise QueryError(f"{name} can be {' or '.join(found)}: write one of them", source, column)
        raise QueryError(self._unknown(name), source, column)

    def _unknown(self, name: str) -> str:
        if name in _STATES:
            return f'unknown name {name}: a text is written in quotes, state == "{name}"'
        choices = [*self.full.values(), *self.short]
        near = difflib.get_close_matches(name[:100], choices, n=1, cutoff=0.6)
        if near:
            return f"unknown name {name}: did you mean {near[0]}?"
        shown = [name for name in self.full.values() if name not in _RARE][:24]
        more = "" if len(shown) >= len(self.full) - len(_RARE) else ", …"
        return (
            f'unknown name {name} (a text is written in quotes: "{name}"); names are {", ".join(shown)}{more}'
        )


_RARE = ("sweep", "purpose", "steps", "command", "folder", "error_class")


# --- the language ----------------------------------------------------------------------------------------------


def _parse(source: str) -> ast.expr:
    if len(source) > LONGEST:
        raise QueryError(f"the filter is longer than {LONGEST} characters", source, LONGEST)
    line = "".join(" " if c in "\n\r\f\v\t" else c for c in source)
    if not line.strip():
        raise QueryError('the filter is empty: write one like state == "failed" or lr < 0.01', source, 1)
    indent = len(line) - len(line.lstrip(" "))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's remarks about unusual but valid text
            return ast.parse(line[indent:].rstrip(" "), mode="eval").body
    except SyntaxError as error:
        column = min(max((error.offset or 1) + indent, 1), len(line) + 1)
        raise QueryError(_hint(line) or "this is no complete expression", source, column) from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise QueryError("this cannot be read as an expression", source, 1) from None


def _hint(line: str) -> str:
    """What was probably meant by text that Python cannot parse."""
    if "&&" in line or "||" in line:
        return "write and, or, not instead of &&, ||, !"
    bare = line
    for sign in ("==", "!=", "<=", ">="):
        bare = bare.replace(sign, "  ")
    if "=" in bare:
        return "compare with == (or !=, <, <=, >, >=)"
    allowed = {"and", "or", "not", "in", "is", "None", "True", "False"}
    words = "".join(c if c.isalnum() or c == "_" else " " for c in line).split()
    for word in words:
        if keyword.iskeyword(word) and word not in allowed:
            return f'{word} is a reserved word: write config["{word}"]'
    return ""


_Operation = Callable[[Any, Any], bool]


class _Compiler:
    """Turns a syntax tree into a function of a flat record; anything outside the language is refused here."""

    def __init__(self, source: str, names: _Names) -> None:
        self.source = source
        self.indent = len(source) - len(source.lstrip())
        self.bytes = source.lstrip().encode("utf-8", "replace")
        self.names = names
        self.depth = 0

    def boolean(self, node: ast.expr) -> _Getter:
        """`and`, `or`, `not`, a comparison, or a value by itself."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error("the expression is nested too deeply", node)
        try:
            if isinstance(node, ast.BoolOp):
                return self._all_or_any(node)
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
                inner = self.boolean(node.operand)
                return lambda row: not inner(row)
            return self._comparison(node) if isinstance(node, ast.Compare) else self.value(node)
        finally:
            self.depth -= 1

    def _all_or_any(self, node: ast.BoolOp) -> _Getter:
        parts = [self.boolean(part) for part in node.values]
        if isinstance(node.op, ast.And):
            return lambda row: all(part(row) for part in parts)
        return lambda row: any(part(row) for part in parts)

    def _comparison(self, node: ast.Compare) -> _Getter:
        operands = [self.value(part) for part in (node.left, *node.comparators)]
        operations = [_OPERATIONS[type(operator)] for operator in node.ops]

        def holds(row: dict[str, Any]) -> bool:
            values = [operand(row) for operand in operands]
            return all(op(a, b) for op, a, b in zip(operations, values, values[1:], strict=False))

        return holds

    def value(self, node: ast.expr) -> _Getter:
        """A name, a number, a text, none, true, false, or a list of such."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            items = [self._literal(item) for item in node.elts]
            return lambda _: items
        literal = self._try_literal(node)
        if literal is not _ABSENT:
            return lambda _: literal
        path = self._path(node, 0)
        if path is None:
            raise self.error(_refusal(node), node)
        name = self.names.resolve(path, self.source, self._column(node))
        return lambda row: row.get(name)

    def _literal(self, node: ast.expr) -> Any:
        literal = self._try_literal(node)
        if literal is _ABSENT:
            path = self._path(node, 0)
            quoted = f': a text is written in quotes, "{path}"' if path is not None else ""
            raise self.error(f"a list can hold numbers, texts, none, true and false only{quoted}", node)
        return literal

    def _try_literal(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and (
            node.value is None or isinstance(node.value, bool | int | float | str)
        ):
            return node.value
        if (
            isinstance(node, ast.Name)
            and node.id.lower() in _WORDS
            and same_name(node.id) not in self.names.full
        ):
            return _WORDS[node.id.lower()]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = node.operand
            number = self._try_literal(inner) if isinstance(inner, ast.Constant | ast.Name) else _ABSENT
            if isinstance(number, int | float) and not isinstance(number, bool):
                return -number if isinstance(node.op, ast.USub) else number
        return _ABSENT

    def _path(self, node: ast.expr, depth: int) -> str | None:
        """The name that this spells, None when it is none."""
        if depth > DEEPEST:
            raise self.error("the name has too many parts", node)
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            start = self._path(node.value, depth + 1)
            return None if start is None else f"{start}.{node.attr}"
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            start = self._path(node.value, depth + 1)
            return (
                None
                if start is None or not isinstance(node.slice.value, str)
                else f"{start}.{node.slice.value}"
            )
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Sub):
            start, end = self._path(node.left, depth + 1), self._part(node.right, depth + 1)
            joint = "/" if isinstance(node.op, ast.Div) else "-"
            return None if start is None or end is None else f"{start}{joint}{end}"
        return None

    def _part(self, node: ast.expr, depth: int) -> str | None:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return str(node.value)
        return self._path(node, depth)

    def error(self, what: str, node: ast.expr) -> QueryError:
        return QueryError(what, self.source, self._column(node))

    def _column(self, node: ast.expr) -> int:
        return self.indent + len(self.bytes[: node.col_offset].decode("utf-8", "ignore")) + 1


def _refusal(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return "functions cannot be called in a filter"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        return "write and, or, not instead of &, |, ~"
    if isinstance(node, ast.BinOp):
        return "there is no arithmetic in a filter"
    if isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp):
        return "a comparison needs a name or a value on each side"
    return "a filter consists of names, numbers, texts in quotes, comparisons, and, or, not, in"


# --- comparing -------------------------------------------------------------------------------------------------


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    x, y = as_number(a), as_number(b)
    if x is not None and y is not None:
        return x == y if isinstance(a, str) or isinstance(b, str) else bool(a == b)
    return bool(a == b)


def _contains(item: Any, box: Any) -> bool:
    if isinstance(box, str):
        return isinstance(item, str) and item in box
    return isinstance(box, list) and any(_same(item, other) for other in box)


def _ordered(compare: _Operation) -> _Operation:
    """Numbers with numbers, texts with texts; anything else has no order and does not hold."""

    def holds(a: Any, b: Any) -> bool:
        x, y = as_number(a), as_number(b)
        if x is not None and y is not None:
            return compare(x, y)
        return isinstance(a, str) and isinstance(b, str) and compare(a, b)

    return holds


_OPERATIONS: dict[type[ast.cmpop], _Operation] = {
    ast.Eq: _same,
    ast.NotEq: lambda a, b: not _same(a, b),
    ast.Is: _same,
    ast.IsNot: lambda a, b: not _same(a, b),
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _contains,
    ast.NotIn: lambda a, b: not _contains(a, b),
}


def _sort_key(item: Any) -> tuple[int, Any] | None:
    number = float(item) if isinstance(item, bool) else as_number(item)
    if number is not None:
        return None if math.isnan(number) else (0, number)
    if item is None:
        return None
    return (1, item) if isinstance(item, str) else (2, json.dumps(item, sort_keys=True, default=str))
