"""Numbers as plotly.js takes them in few bytes."""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Iterable
from typing import Any


def pack(values: Iterable[float]) -> dict[str, Any]:
    """Numbers as plotly's packed array of 32-bit floats; of 64 bits where some would not fit."""
    wide = array("d", values)
    fits = all(x == 0 or 1e-35 < abs(x) < 1e35 for x in wide if math.isfinite(x))
    return _packed(array("f", wide), "f4") if fits else _packed(wide, "f8")


def pack_ints(values: Iterable[int]) -> dict[str, Any]:
    """Whole numbers as plotly's packed array of 32-bit integers."""
    return _packed(array("i", values), "i4")


def _packed(values: array[Any], dtype: str) -> dict[str, Any]:
    if sys.byteorder == "big":
        values.byteswap()
    return {"dtype": dtype, "bdata": base64.b64encode(values.tobytes()).decode("ascii")}
