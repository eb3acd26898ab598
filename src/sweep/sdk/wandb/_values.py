"""Values as wandb takes them: a config's values made JSON-friendly, parameters from whatever a script calls a config."""

from __future__ import annotations

from _collections_abc import Mapping

from sweep.sdk.wandb._errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_LARGEST_LIST = 32
_PLAIN = (str, int, float, bool, type(None))


def friendly(value: Any) -> Any:
    """A config value as wandb keeps it: maps and lists of plain values; what has no such form becomes text."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): friendly(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [friendly(inner) for inner in value]
    if isinstance(value, slice):
        return {"slice_start": value.start, "slice_step": value.step, "slice_stop": value.stop}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return _of_an_object(value)


def _of_an_object(value: Any) -> Any:
    array = _array(value)
    if array is not None:
        return friendly(array[0])
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(type(value), "__members__"):  # an enum
        return value.name
    if isinstance(value, (str, int, float)):  # a subclass of one
        return next(base(value) for base in (str, int, float) if isinstance(value, base))
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: friendly(getattr(value, name)) for name in value.__dataclass_fields__}
    if callable(value) and hasattr(value, "__qualname__") and hasattr(value, "__module__"):
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _array(value: Any) -> tuple[Any] | None:
    """The content of a numpy, torch or jax value, in a tuple; None when it is none or too large to list."""
    if isinstance(value, type) or not hasattr(value, "dtype"):
        return None
    try:
        listed = value.tolist()
    except Exception:
        return None
    size = 1
    for length in getattr(value, "shape", ()):
        size *= length
    if size == 1:
        while isinstance(listed, list):
            listed = listed[0]
    return (listed,) if size <= _LARGEST_LIST else None


def parameters(
    given: Any, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
) -> dict[str, Any]:
    """What a script gives as a config (a dict, an argparse or absl namespace, a Config, a path of a YAML or JSON file)
    as a dict. `include`, `exclude`: the names to take or leave. Raises UsageError for both, TypeError for neither kind."""
    if include and exclude:
        raise UsageError("Expected at most only one of exclude or include")
    if given is None:
        found: dict[str, Any] = {}
    elif isinstance(given, (str, bytes)) or hasattr(given, "__fspath__"):
        found = config_file(given, must_exist=True)
    else:
        found = _as_dict(given)
    if include:
        return {name: value for name, value in found.items() if name in include}
    if exclude:
        return {name: value for name, value in found.items() if name not in exclude}
    return found


def _as_dict(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping) or (hasattr(given, "keys") and hasattr(given, "__getitem__")):
        return {key if isinstance(key, str) else str(key): given[key] for key in given.keys()}  # noqa: SIM118
    if hasattr(given, "FLAGS"):  # absl's or TensorFlow's module
        given = given.FLAGS
    if hasattr(given, "flag_values_dict"):
        return dict(given.flag_values_dict())
    if hasattr(given, "__dict__"):
        return dict(vars(given))
    raise TypeError("config must be a dict or have a __dict__ attribute.")


def config_file(path: Any, must_exist: bool = False) -> dict[str, Any]:
    """The values of a config file: `name: value` or `name: {desc:, value:}`. Empty when there is none.

    Raises UsageError when it must exist and does not, or cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        if not must_exist:
            return {}
        raise UsageError(f"config file {path} cannot be read: {error.strerror or error}") from None
    found = read_yaml(text, str(path))
    if not isinstance(found, Mapping):
        raise UsageError(f"config file {path} must hold names and values")
    return {
        str(name): value["value"] if isinstance(value, Mapping) and "value" in value else value
        for name, value in found.items()
        if name not in ("wandb_version", "_wandb")
    }


def read_yaml(text: str, where: str) -> Any:
    """YAML as Python values, where PyYAML is installed; JSON otherwise. Raises UsageError."""
    try:
        from yaml import safe_load
    except ImportError:
        import json

        try:
            return json.loads(text)
        except ValueError:
            raise UsageError(f"{where}: reading YAML needs the package PyYAML in this Python") from None
    try:
        return safe_load(text)
    except Exception as error:
        raise UsageError(f"{where} is no YAML: {error}") from None
