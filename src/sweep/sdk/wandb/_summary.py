"""`run.summary`: the last value of every logged name, the aggregates of defined metrics, and what the script sets itself.

Only the latter two are told to the record: the agent keeps last values by itself.
"""

from __future__ import annotations

from _collections_abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Missing(KeyError, AttributeError):
    """A name that the summary does not have, asked for as an item or as an attribute."""


class Summary:
    """A map of names to values; maps inside it are `Summary` objects too, so that a change inside one is recorded."""

    _values: dict[str, Any]
    _told: Callable[[dict[str, Any]], None]

    def __init__(self, told: Callable[[dict[str, Any]], None], values: dict[str, Any] | None = None) -> None:
        """`told` is called with what the script has set."""
        object.__setattr__(self, "_values", {} if values is None else values)
        object.__setattr__(self, "_told", told)

    def keys(self) -> list[str]:
        """The names."""
        return list(self._values)

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return [(name, self[name]) for name in self._values]

    def values(self) -> list[Any]:
        """The values, in the order of the names."""
        return [self[name] for name in self._values]

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` when there is none."""
        return self[key] if key in self._values else default

    def __getitem__(self, key: str) -> Any:
        try:
            value = self._values[key]
        except KeyError:
            return self._group(key)
        if isinstance(value, dict) and "_type" not in value:
            return Summary(lambda inner: self._told({key: inner}), value)
        return value

    __getattr__ = __getitem__

    def _group(self, key: str) -> Summary:
        """Values that were logged in a map called `key`: their names are flat here."""
        found = {
            name[len(key) + 1 :]: value for name, value in self._values.items() if name.startswith(key + "/")
        }
        if not found or key.startswith("__"):
            raise Missing(f"{key!r} is not in the summary")
        return Summary(
            lambda inner: self.update({f"{key}/{name}": value for name, value in inner.items()}), found
        )

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    __setattr__ = __setitem__

    def update(self, d: Mapping[str, Any]) -> None:
        """Set several."""
        given = {str(key): value for key, value in dict(d).items()}
        for key, value in given.items():
            self._values[key] = dict(value) if isinstance(value, (Mapping, Summary)) else value
        self._told(given)

    def __delitem__(self, key: str) -> None:
        if self._values.pop(key, None) is not None:
            self._told({key: None})

    __delattr__ = __delitem__

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def _logged(self, values: Mapping[str, Any]) -> None:
        """Take last values in, without telling the record."""
        self._values.update(values)

    def _as_dict(self) -> dict[str, Any]:
        return self._values
