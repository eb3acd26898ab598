"""A run's config (what the sweep decided, completed by defaults; read-only) and its summary (what the program adds)."""

from __future__ import annotations

from _collections_abc import Mapping

from sweep.sdk._wire import flatten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

    _Dict = dict[str, Any]
else:
    _Dict = dict


class Config(_Dict):
    """One point of the space as a dict whose keys are attributes too, nested maps included. Read-only.

    `dict(config)` or `config.as_dict()` is a copy that can be changed. A key that is also a method of dict
    (`items`, `get`, …) is reached as an item only.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(self._missing(name)) from None

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(self._missing(name))

    def _missing(self, name: object) -> str:
        known = ", ".join(map(str, self)) or "nothing"
        return f"{name!r} is not in the config, which has: {known}"

    def as_dict(self) -> dict[str, Any]:
        """A deep copy made of plain dicts (lists are copied as well)."""
        return {name: _plain(value) for name, value in self.items()}

    def _read_only(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError(
            "a run's config is read-only: it records what the sweep decided. "
            "Pass defaults to sweep.init(config={...}); change a copy made by config.as_dict()"
        )

    __setitem__ = __delitem__ = __setattr__ = __delattr__ = __ior__ = _read_only
    update = setdefault = pop = popitem = clear = _read_only

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (dict(self),)

    def __deepcopy__(self, _memo: object) -> Config:
        return to_config(self.as_dict())

    def __repr__(self) -> str:
        return f"Config({dict.__repr__(self)})"


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.as_dict()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def to_config(values: Mapping[Any, Any]) -> Config:
    """A Config of `values`; maps inside it become Configs, keys strings."""
    return Config(
        {
            str(name): to_config(value) if isinstance(value, Mapping) else value
            for name, value in values.items()
        }
    )


def merge(chosen: Mapping[str, Any], defaults: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`chosen` completed by `defaults`, map by map, and by itself what the defaults filled in.

    The chosen value wins, whatever its kind.
    """
    merged = dict(chosen)
    filled: dict[str, Any] = {}
    for key, value in defaults.items():
        name = str(key)
        if name not in chosen:
            merged[name] = filled[name] = value
        elif isinstance(value, Mapping) and isinstance(chosen[name], Mapping):
            merged[name], more = merge(chosen[name], value)
            if more:
                filled[name] = more
    return merged, filled


class Summary:
    """Single results of a run, by name: `run.summary["test/accuracy"] = 0.98`. Nested maps are flattened with `/`.

    Holds what this program has set; the recorded summary has the last value of every logged name as well.
    """

    __slots__ = ("_changed", "_values")

    def __init__(self, changed: Callable[[dict[str, Any]], None]) -> None:
        """`changed` is called with what was set, flattened."""
        self._values: dict[str, Any] = {}
        self._changed = changed

    def __setitem__(self, name: str, value: object) -> None:
        self.update({name: value})

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several at once. TypeError when `values` is not a mapping."""
        if not isinstance(values, Mapping):
            raise TypeError(
                f"run.summary.update takes a mapping of names to values; got {type(values).__name__}"
            )
        flat = dict(flatten(values))
        self._values.update(flat)
        self._changed(flat)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or `default` when this program has not set it."""
        return self._values.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        """The names set so far."""
        return list(self._values)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"Summary({self._values!r})"
