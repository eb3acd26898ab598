"""Text, file or Python dict -> Parsed, or SpecError with everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from sweep.core.secrets import find_tokens
from sweep.core.spec import SweepSpec
from sweep.spec import _problems
from sweep.spec._build import build_spec
from sweep.spec._problems import Problem, Report, SpecError
from sweep.spec._scalars import int_problem, text_problem
from sweep.spec._tree import MAX_DEPTH, MAX_NODES, read_tree

MAX_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Parsed:
    """A spec, the text it was read from, and what its author should know."""

    spec: SweepSpec
    source: str
    warnings: tuple[Problem, ...]


def parse(text: str | bytes, path: str = "sweep.yaml", *, draw_seed: Callable[[], int]) -> Parsed:
    """The spec in a YAML text. `path` is its name in messages; `draw_seed` gives a seed (0 … 2**63-1) when the
    text has none. Raises SpecError, with every problem that was found, and nothing else."""
    report = Report(path)
    text = _decoded(text, report)
    tree = read_tree(text, report)
    report.source = tree
    content = tree.data(report)
    return _built(content, text, report, draw_seed)


def _check_whole(text: str, report: Report) -> None:
    """Secrets anywhere in the file, comments included, since all of it is recorded. Lines that are spoken of already are not again."""
    known = {problem.line for problem in report.errors}
    for start, _ in find_tokens(text):
        line = text.count("\n", 0, start) + 1
        if line not in known:
            known.add(line)
            column = start - text.rfind("\n", 0, start)
            report.error_at(
                line, column, (), "looks like a secret, and the whole file is recorded; remove it"
            )


def parse_dict(
    content: Mapping[str, Any],
    path: str = "spec",
    *,
    draw_seed: Callable[[], int],
    needs_program: bool = True,
) -> Parsed:
    """The spec in a Python mapping with the content of a `sweep.yaml`; problems have no lines. Without `needs_program`, one
    with neither `program` nor `command` will do: its runs call a function. Raises SpecError."""
    report = Report(path)
    plain = _Plain(report).read(content, ())
    report.stop_on_errors()
    return _built(plain, _written(plain), report, draw_seed, needs_program)


def load(path: Path, draw_seed: Callable[[], int]) -> Parsed:
    """The spec in a file. Raises SpecError, also for a file that is missing, too large or not UTF-8."""
    report = Report(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        _refuse(report, f"there is no such file{_similar(path)}")
    except IsADirectoryError:
        _refuse(report, f"this is a folder; name the file in it, such as {path / 'sweep.yaml'}")
    except PermissionError:
        _refuse(report, "this file may not be read; check its permissions")
    except (OSError, ValueError) as error:
        _refuse(report, f"this file cannot be read: {getattr(error, 'strerror', None) or error}")
    return parse(data, str(path), draw_seed=draw_seed)


def _built(
    content: Any, source: str, report: Report, draw_seed: Callable[[], int], needs_program: bool = True
) -> Parsed:
    spec = build_spec(content, report, draw_seed, needs_program)
    if report.source is not None:
        _check_whole(source, report)
    if spec is None or report.errors:
        raise SpecError(report.errors)
    return Parsed(spec, source, report.warnings)


def _written(plain: Any) -> str:
    """`plain` as YAML that reads back as the same. Left unescaped, the rarer line breaks would come back as spaces."""
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    if any(char in text for char in "\x85\u2028\u2029"):
        text = yaml.safe_dump(plain, sort_keys=False)
    return text


def _decoded(text: str | bytes, report: Report) -> str:
    if len(text) > MAX_BYTES:
        size = f"{MAX_BYTES // 1_000_000} MB"
        report.error_at(1, 1, (), f"this is larger than {size}, and cannot be meant as a sweep file")
        raise SpecError(report.errors)
    if isinstance(text, bytes):
        text = _from_utf8(text, report)
    return text.removeprefix("\ufeff")


def _from_utf8(data: bytes, report: Report) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        utf_16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        kind = "it is UTF-16" if utf_16 else f"byte 0x{data[error.start]:02x}"
        report.error_at(line, column, (), f"this is not UTF-8 text ({kind}); save it as UTF-8")
        raise SpecError(report.errors) from None


def _similar(path: Path) -> str:
    """The YAML files that do stand in the folder."""
    try:
        names = sorted(
            entry.name
            for entry in path.parent.iterdir()
            if entry.suffix in (".yaml", ".yml") and entry.is_file()
        )
    except OSError:
        return f"; the folder {path.parent} cannot be listed"
    if not names:
        return ""
    found = _problems.nearest(path.name, names)
    return f"; did you mean {path.parent / found}?" if found else f"; the folder has {', '.join(names[:5])}"


def _refuse(report: Report, message: str) -> NoReturn:
    report.error((), message)
    raise SpecError(report.errors) from None


class _Plain:
    """Python values -> the plain data that YAML would have given; refuses what a journal cannot keep."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._count = 0

    def read(self, value: Any, at: _problems.Path) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            _refuse(self._report, f"this has more than {MAX_NODES:,} values")
        if len(at) > MAX_DEPTH:
            _refuse(self._report, f"this is nested more than {MAX_DEPTH} deep (or contains itself)")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Mapping):
            return {key: self.read(item, (*at, key)) for key, item in value.items() if self._is_key(key, at)}
        if isinstance(value, list | tuple):
            return [self.read(item, (*at, index)) for index, item in enumerate(value)]
        return self._scalar(value, at)

    def _is_key(self, key: Any, at: _problems.Path) -> bool:
        message = (
            text_problem(key)
            if isinstance(key, str)
            else f"a key must be a str, not {_problems.show_type(key)}"
        )
        if message:
            self._report.error(at, message)
        return message is None

    def _scalar(self, value: Any, at: _problems.Path) -> Any:
        message: str | None
        if isinstance(value, str):
            value = str.__str__(value)
            message = text_problem(value)
        elif isinstance(value, int):
            value = int(value)
            message = int_problem(value)
        elif isinstance(value, float):
            value, message = float(value), None
        else:
            message = f"must be plain Python data (None, bool, int, float, str, list, dict), not {_problems.show_type(value)}"
        if message:
            self._report.error(at, message)
        return value
