"""`wandb.config`: writable, unlike the SDK's own; what the sweep decided is locked.

A change is told to the record at once. Nested maps are plain dicts, and what a script changes inside one is its own.
"""

from __future__ import annotations

from sweep.sdk.wandb._errors import ConfigError
from sweep.sdk.wandb._say import once
from sweep.sdk.wandb._values import friendly, parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any


class Config:
    """The run's config: items, attributes, `update`, `setdefaults`. Made by `init`."""

    _items: dict[str, Any]
    _locked: dict[str, str]
    _told: Callable[[dict[str, Any]], None] | None

    def __init__(self) -> None:
        set_own = object.__setattr__
        set_own(self, "_items", {})
        set_own(self, "_locked", {})
        set_own(self, "_told", None)

    def _tell(self, told: Callable[[dict[str, Any]], None]) -> None:
        """From now on `told` is called with what has changed."""
        object.__setattr__(self, "_told", told)

    def _changed(self, values: dict[str, Any]) -> None:
        if self._told is not None and values:
            self._told(values)

    # --- reading

    def keys(self) -> list[str]:
        """The names."""
        return [name for name in self._items if not name.startswith("_")]

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return [(name, self._items[name]) for name in self.keys()]

    def values(self) -> list[Any]:
        """The values, in the order of the names."""
        return [self._items[name] for name in self.keys()]

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict."""
        return dict(self.items())

    def get(self, *args: Any) -> Any:
        """`get(name)` or `get(name, default)`."""
        return self._items.get(*args)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __getattr__(self, key: str) -> Any:
        try:
            return self._items[key]
        except KeyError:
            raise AttributeError(
                f"{key!r} is not in the config, which has: {', '.join(self._items) or 'nothing'}"
            ) from None

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __repr__(self) -> str:
        return str(self.as_dict())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (dict(self._items), dict(self._locked))

    # --- writing

    def __setitem__(self, key: str, val: Any) -> None:
        value = friendly(val)
        name = key.strip("-")
        if self._is_locked(name, value):
            return
        self._check(name, value, None)
        self._items[name] = value
        self._changed({name: value})

    __setattr__ = __setitem__

    def update(self, d: Any, allow_val_change: bool | None = None) -> None:
        """Take values in: from a dict, a namespace, a file's path. Raises ConfigError for a value that differs from one
        already there, unless `allow_val_change`; what the sweep decided stays, with a warning."""
        clean = {}
        for key, given in parameters(d).items():
            name, value = key.strip("-"), friendly(given)
            if not self._is_locked(name, value):
                self._check(name, value, allow_val_change)
                clean[name] = value
        self._items.update(clean)
        self._changed(clean)

    def setdefaults(self, d: Any) -> None:
        """Take in the values whose names are not there yet."""
        clean = {
            name: friendly(value)
            for name, value in ((key.strip("-"), value) for key, value in parameters(d).items())
            if name not in self._items
        }
        self._items.update(clean)
        self._changed(clean)

    def persist(self) -> None:
        """Record the config as it is now, changes inside nested maps included."""
        self._changed(dict(self._items))

    def update_locked(
        self, d: Mapping[str, Any], user: str | None = None, _allow_val_change: bool | None = None
    ) -> None:
        """Take values in and lock their names."""
        for name, value in d.items():
            self._locked[name] = user or "sweep"
            self._items[name] = friendly(value)
        self._changed({name: self._items[name] for name in d})

    def merge_locked(
        self, d: Mapping[str, Any], user: str | None = None, _allow_val_change: bool | None = None
    ) -> None:
        """The same, map by map: what a nested map has beside these values stays."""
        for name, value in d.items():
            self._locked[name] = user or "sweep"
            self._items[name] = _merged(self._items.get(name), friendly(value))
        self._changed({name: self._items[name] for name in d})

    def _is_locked(self, name: str, value: Any) -> bool:
        owner = self._locked.get(name)
        if owner is None:
            return False
        if not _same(value, self._items[name]):
            once(
                f"locked {name}",
                f"config item {name!r} was locked by the {owner}, which chose {self._items[name]!r} (ignored update)",
            )
        return True

    def _check(self, name: str, value: Any, allow: bool | None) -> None:
        if not allow and name in self._items and not _same(value, self._items[name]):
            raise ConfigError(
                f'Attempted to change value of key "{name}" from {self._items[name]} to {value}\n'
                "If you really want to do this, pass allow_val_change=True to config.update()"
            )


def _restored(items: dict[str, Any], locked: dict[str, str]) -> Config:
    config = Config()
    config._items.update(items)
    config._locked.update(locked)
    return config


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)  # NaN is the same value as NaN
