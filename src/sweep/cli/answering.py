"""Answers a shell that completes a command line: `_SWEEP_COMPLETE=SHELL sweep WORDS...`, the last word being completed.

One candidate per line, where there is one with its explanation after a tab; `:file` asks for names of files. The rules of
this file: no import but what an answer needs (never click), no store is made, nothing is said on standard error.
"""

from __future__ import annotations

import os
import sys

from sweep.cli._words import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    Candidate = tuple[str, str]

VARIABLE = "_SWEEP_COMPLETE"
FILES = ":file"
MOST = 500
"""More candidates than this are not shown: type another digit."""
_GLOBAL = {"--help": "Show this message and exit.", "--version": "Show the version and exit."}
_CHOOSING = ("compare", "diff", "rerun", "reproduce", "fetch", "show", "logs")
"""Commands whose runs may also be called `best`."""


def main() -> None:
    """Print the answer. Never fails: a shell in the middle of a line is no place for messages."""
    try:
        lines = [f"{value}\t{text}" if text else value for value, text in answer(sys.argv[1:], os.environ)]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except Exception:
        os._exit(0)


def answer(words: Sequence[str], environ: Mapping[str, str]) -> list[Candidate]:
    """What the last of `words` (those after `sweep`) could become."""
    joined = _joined(words, environ.get(VARIABLE, "") == "bash")
    *before, current = joined or [""]
    name = next((word for word in before if not word.startswith("-")), None)
    if name is None:
        return _matching(
            [*((n, c["help"]) for n, c in COMMANDS.items()), *_options_of(_GLOBAL, current)], current
        )
    known = COMMANDS.get(name)
    if known is None:
        return []
    place = _Place(name, known, before[before.index(name) + 1 :], current, environ)
    return _matching(list(place.candidates()), place.typed)[:MOST]


def _joined(words: Sequence[str], bash: bool) -> list[str]:
    """bash takes `--format=csv` for three words; here it is two: the option and its value."""
    found: list[str] = []
    for word in words:
        if bash and word == "=" and found and found[-1].startswith("--"):
            found.append("")
        elif bash and len(found) >= 2 and found[-1] == "" and found[-2].startswith("--"):
            found[-1] = word
        else:
            found.append(word)
    return found


def _matching(candidates: Iterable[Candidate], typed: str) -> list[Candidate]:
    return [found for found in candidates if found[0].startswith(typed) or found[0] == FILES]


def _options_of(options: Mapping[str, str], current: str) -> list[Candidate]:
    return list(options.items()) if current.startswith("-") else []


class _Place:
    """A command line up to the word that is being completed."""

    def __init__(
        self,
        name: str,
        known: Mapping[str, object],
        before: Sequence[str],
        current: str,
        environ: Mapping[str, str],
    ) -> None:
        self.name, self.known, self.environ = name, known, environ
        self.options: dict[str, tuple[str, tuple[str, ...] | None]] = known["options"]  # type: ignore[assignment]
        self.prefix = ""
        """What stands before the value that is completed: `--format=`."""
        self.typed = current
        self.given: list[str] = []
        """The arguments before it, without options."""
        self.waiting: str | None = None
        """The option whose value it is."""
        self.store = environ.get("SWEEP_STORE", "")
        self.rest = False
        """After `--` everything is an argument."""
        for word in before:
            self._take(word)
        option, equals, _ = current.partition("=")
        if equals and self.waiting is None and not self.rest and self._values(option) is not None:
            self.waiting, self.prefix = option, f"{option}="

    def candidates(self) -> Iterator[Candidate]:
        """Everything that could stand here, whatever has been typed of it."""
        if self.waiting is not None:
            for value in self._values(self.waiting) or ():
                yield (value if value == FILES else self.prefix + value, "")
        elif self.typed.startswith("-") and not self.rest:
            yield from (
                (option, text) for option, (text, _) in self.options.items() if option not in self.given
            )
        else:
            yield from self._arguments()

    def _take(self, word: str) -> None:
        if self.waiting is not None:
            self.store = word if self.waiting == "--store" else self.store
            self.waiting = None
        elif self.rest or not word.startswith("-") or word == "-":
            self.given.append(word)
        elif word == "--":
            self.rest = True
        else:
            option, equals, value = word.partition("=")
            if equals and option == "--store":
                self.store = value
            elif not equals and self._values(option) is not None:
                self.waiting = option

    def _values(self, option: str) -> tuple[str, ...] | None:
        """Known values of an option that takes one; None for one that takes none."""
        return self.options.get(option, ("", None))[1]

    def _arguments(self) -> Iterator[Candidate]:
        kinds: tuple[str, ...] = self.known["arguments"]  # type: ignore[assignment]
        if not kinds:
            return
        last = kinds[-1]
        kind = kinds[len(self.given)] if len(self.given) < len(kinds) else last if last.endswith("*") else ""
        if kind.startswith("file"):
            yield (FILES, "")
        elif kind.startswith("one of "):
            yield from ((word, "") for word in kind.split()[2:])
        elif "id" in kind or "run" in kind:
            yield from self._sweeps_and_runs("id" in kind, "run" in kind)

    def _sweeps_and_runs(self, sweeps: bool, runs: bool) -> Iterator[Candidate]:
        from sweep.stores._glance import run_count, sweep_ids

        path = self._path()
        if path is None:
            return
        ids = sweep_ids(path)
        if not ids:
            return
        sweep, dash, digits = self.typed.rpartition("-")
        if runs and dash:
            known = ids[0] if sweep == "latest" else sweep
            numbers = (str(number) for number in range(run_count(path, known) if known in ids else 0))
            yield from ((f"{sweep}-{number}", "") for number in numbers if number.startswith(digits))
            if self.name in _CHOOSING and known in ids:
                yield (f"{sweep}-best", "its best run")
            return
        newest = f"sweep {ids[0]}"
        if sweeps:
            yield ("latest", newest)
            yield from ((name, "") for name in ids)
        elif runs:
            yield from [("best", f"the best run of {newest}")] if self.name in _CHOOSING else []
            yield ("latest-", f"runs of {newest}")
            yield from ((f"{name}-", "") for name in ids)

    def _path(self) -> Path | None:
        from pathlib import Path

        from sweep.stores._place import default_path, path_of

        if self.store == "memory:":
            return None
        path = path_of(self.store, Path.cwd()) if self.store else default_path(Path.cwd())
        return path if path.is_file() else None
