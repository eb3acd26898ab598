"""What is wrong with a spec, where, and what would be right; collected, so that one reading reports everything.

The rule of this file: a message is a sentence for the person who wrote the file. It names the value that is wrong and
what to write instead, and never repeats a value that may be a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Protocol

from sweep.core.errors import SweepError
from sweep.core.secrets import find_tokens

Path = tuple[str | int, ...]
"""Where a value stands in the file: keys and indices from the top."""

_SHOWN = 50
_MOST = 1000
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend or to know. `line` and `column` count from 1; None where there is no text (a Python dict)."""

    path: str
    line: int | None
    column: int | None
    key: str
    """The dotted key, `parameters.lr`; empty when the whole file is meant."""
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}:{self.column}"
        return f"{where} {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SpecError(SweepError):
    """The spec cannot be used. `problems` holds everything that was found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"… and {len(self.problems) - _SHOWN} more")
        return "\n".join(lines)


class Source(Protocol):
    """What is known about the text behind the values."""

    def mark(self, path: Path) -> tuple[int, int] | None:
        """Line and column (from 1) of the key or the item at `path`, else of what is nearest above it."""

    def text(self, path: Path) -> str | None:
        """A scalar as it was written; None when that is not known."""

    def is_plain(self, path: Path) -> bool:
        """False when the scalar at `path` was written in quotes, so that its type was meant."""


class Report:
    """Collects the problems of one reading."""

    def __init__(self, path: str, source: Source | None = None) -> None:
        self.path = path
        self.source = source
        self._found: dict[str, dict[Problem, None]] = {"error": {}, "warning": {}}

    @property
    def is_full(self) -> bool:
        """Whether there are so many errors that looking for more would help nobody."""
        return len(self._found["error"]) >= _MOST

    def error(self, at: Path, message: str, *, place: Path | None = None) -> None:
        """`place`: where to point, when that is more exact than the key that the message is about."""
        self._add(at, message, "error", at if place is None else place)

    def warn(self, at: Path, message: str) -> None:
        self._add(at, message, "warning", at)

    def error_at(self, line: int, column: int, at: Path, message: str) -> None:
        """For what is found before there is a tree of values to look a position up in."""
        self._keep(Problem(self.path, line, column, dotted(at), message))

    def _add(self, at: Path, message: str, severity: Literal["error", "warning"], place: Path) -> None:
        if len(self._found[severity]) < _MOST:
            line, column = (self.source and self.source.mark(place)) or (None, None)
            self._keep(Problem(self.path, line, column, dotted(at), message, severity))

    def _keep(self, problem: Problem) -> None:
        found = self._found[problem.severity]
        if len(found) < _MOST:
            found[problem] = None

    def line(self, path: Path) -> str:
        """` (line 12)`, or nothing where there are no lines."""
        mark = self.source.mark(path) if self.source else None
        return f" (line {mark[0]})" if mark else ""

    def text(self, path: Path) -> str | None:
        """A scalar as it was written; None when that is not known."""
        return self.source.text(path) if self.source else None

    def is_plain(self, path: Path) -> bool:
        """False when the scalar at `path` was written in quotes, so that its type was meant."""
        return self.source is None or self.source.is_plain(path)

    @property
    def errors(self) -> tuple[Problem, ...]:
        return self._sorted("error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return self._sorted("warning")

    def _sorted(self, severity: str) -> tuple[Problem, ...]:
        return tuple(
            sorted(self._found[severity], key=lambda problem: (problem.line or 0, problem.column or 0))
        )

    def stop_on_errors(self) -> None:
        """Raises SpecError when there was any error."""
        if self.errors:
            raise SpecError(self.errors)


def dotted(path: Path) -> str:
    """`("command", 2)` as `command[2]`, `("parameters", "lr")` as `parameters.lr`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shorten(part)}" if text else shorten(part)
    return text


def shorten(text: str) -> str:
    """One line of bounded length."""
    line = "".join(char if char.isprintable() else "?" for char in text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def show(value: Any) -> str:
    """A value for a message: as one would write it in YAML, short, and never a secret."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "a text that looks like a secret" if find_tokens(value) else f"'{shorten(value)}'"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return number(value)


def number(value: float) -> str:
    """A number as one would write it, so that YAML reads it as one: 0.1, 1.0e-05, .inf, 3."""
    if isinstance(value, int):
        return shorten(str(value)) if value.bit_length() < 200 else "a very large number"
    if value != value or value in (float("inf"), float("-inf")):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    mantissa, e, exponent = repr(value).partition("e")
    return mantissa if not e else f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that `word` was probably meant to be, else None."""
    plain = word.strip().lower().replace("-", "_").replace(" ", "_")
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(plain[:100], list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def listed(words: list[str], last: str = "and") -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def show_type(value: Any) -> str:
    """`numpy.int64`, for what has no place in a spec."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
