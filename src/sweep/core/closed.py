"""What a snapshot has of runs and trials, and nobody has asked for yet: opened block by block.

The rule of this file: whoever looks cannot tell. A closed run or trial opens its block with the first attribute that is read or
set, and is from then on what it would have been at once. A controller that takes over a long sweep needs few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSequence
from typing import Any, overload

from sweep.core.plugins import Observation
from sweep.core.state import Run, Trial

_agent: Any = vars(Run)["agent"]
_config: Any = vars(Trial)["config"]
"""The slots themselves: to what stands in them when the object is still closed."""


class _ClosedRun(Run):
    """What opens it stands where its agent will."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        _agent.__get__(self)()
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _agent.__get__(self)()
        setattr(self, name, value)


class _ClosedTrial(Trial):
    """What opens it stands where its config will."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        _config.__get__(self)()
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _config.__get__(self)()
        setattr(self, name, value)


def closed_runs(count: int, opener: Callable[[], None]) -> list[Run]:
    """So many runs. `opener` sets all of their attributes, when the first is asked for, and calls `opened` with them."""
    new, put, runs = _ClosedRun.__new__, _agent.__set__, list[Run]()
    for _ in range(count):
        run = new(_ClosedRun)
        put(run, opener)
        runs.append(run)
    return runs


def closed_trials(count: int, opener: Callable[[], None]) -> list[Trial]:
    """As `closed_runs`."""
    new, put, trials = _ClosedTrial.__new__, _config.__set__, list[Trial]()
    for _ in range(count):
        trial = new(_ClosedTrial)
        put(trial, opener)
        trials.append(trial)
    return trials


def opened(kind: type, objects: Iterable[object]) -> None:
    """These are no longer closed."""
    become = object.__setattr__
    for one in objects:
        become(one, "__class__", kind)


class Observations(MutableSequence[Observation]):
    """A list of what searchers see of each trial, of which some blocks are closed."""

    def __init__(self) -> None:
        self._items: list[Observation | None] = []
        self._openers: dict[int, Callable[[], None]] = {}
        """First number of a closed block -> what opens it."""
        self._block = 1

    def add_closed(self, count: int, block: int, opener: Callable[[], None]) -> None:
        """One more block of `count` observations; all but the last have `block`. `opener` calls `fill`."""
        self._block = block
        if count:
            self._openers[len(self._items)] = opener
            self._items += [None] * count

    def fill(self, first: int, found: Iterable[Observation]) -> None:
        """A block has been opened."""
        if self._openers.pop(first, None) is not None:
            for number, one in enumerate(found, first):
                self._items[number] = one

    def __len__(self) -> int:
        return len(self._items)

    def _all(self) -> list[Observation]:
        for opener in list(self._openers.values()):
            opener()
        return self._items  # type: ignore[return-value]

    @overload
    def __getitem__(self, index: int) -> Observation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Observation]: ...
    def __getitem__(self, index: int | slice) -> Observation | list[Observation]:
        if isinstance(index, slice):
            for number in range(*index.indices(len(self._items))):
                if self._items[number] is None:
                    self._open(number)
            return self._items[index]  # type: ignore[return-value]
        return self._items[index] or self._open(range(len(self._items))[index])

    def _open(self, number: int) -> Observation:
        self._openers[number - number % self._block]()
        found = self._items[number]
        assert found is not None
        return found

    def __setitem__(self, index: Any, value: Any) -> None:
        self._all() if isinstance(index, slice) else self[index]
        self._items[index] = value

    def __delitem__(self, index: Any) -> None:
        self._all()
        del self._items[index]

    def insert(self, index: int, value: Observation) -> None:
        if index < len(self._items):
            self._all()
        self._items.insert(index, value)

    def append(self, value: Observation) -> None:
        self._items.append(value)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return self._all() == (list(other) if isinstance(other, Observations) else other)

    __hash__ = None  # type: ignore[assignment]
