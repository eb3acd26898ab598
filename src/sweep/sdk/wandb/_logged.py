"""What `log` was given, as what a row holds: flat names; numbers and JSON values as they are, media as references to files.

What cannot be stored is said once, and recorded as text: a training goes on when a picture cannot be written.
"""

from __future__ import annotations

import sys
from _collections_abc import Mapping

from sweep.sdk._wire import flatten
from sweep.sdk.wandb._say import once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sweep.sdk.wandb._record import Record

_LARGEST_LIST = 32


def converted(data: Mapping[str, Any], record: Record, step: int) -> dict[str, Any]:
    """`data` flattened, with files written for its media."""
    return {name: stored(name, value, record, step) for name, value in flatten(data)}


def stored(name: str, value: Any, record: Record, step: int) -> Any:
    """One value as a row or a summary holds it."""
    kind = type(value)
    if kind in (float, int, str, bool) or value is None:
        return value
    try:
        return _stored(name, value, record, step)
    except Exception as error:
        once(f"stored {name}", f"{name!r} could not be recorded as {kind.__name__}: {error}")
        return f"<{kind.__name__}: {error}>"


def _stored(name: str, value: Any, record: Record, step: int) -> Any:
    if isinstance(value, (list, tuple)):
        if value and all(hasattr(item, "_stored") for item in value):
            return _sequence(name, value, record, step)
        return value
    wrapped = _wrapped(value)
    return wrapped._stored(record, name, step) if hasattr(wrapped, "_stored") else wrapped


def _sequence(name: str, items: Any, record: Record, step: int) -> Any:
    found = [item._stored(record, name, step) for item in items]
    if len(found) == 1:
        return found[0]
    kind = str(found[0].get("_type", "")).replace("-file", "")
    return {
        "_type": "images/separated" if kind == "image" else kind + "s",
        "count": len(found),
        "items": found,
    }


def _wrapped(value: Any) -> Any:
    """A value that other packages made, as one of ours, where there is one for it."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    if isinstance(value, type(sys)):  # `wandb.log({"chart": plt})`
        package = value.__name__.partition(".")[0]
    if package in ("matplotlib", "PIL"):
        from sweep.sdk.wandb.media import Image

        return Image(value)
    if package == "plotly":
        from sweep.sdk.wandb.media import Plotly

        return Plotly(value)
    if hasattr(value, "dtype") and _size(value) > _LARGEST_LIST:
        from sweep.sdk.wandb.media import Histogram

        return Histogram(value, num_bins=32)
    return value


def _size(value: Any) -> int:
    size = 1
    for length in getattr(value, "shape", ()):
        size *= length
    return size
