"""When two values, or two configs, are the same.

The rule of this file: equality is that of keys, so that sets and dicts can use it for values that Python cannot hash.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> str:
    """A key that is equal for equal configs (or values): 3 and 3.0 are merged, True and 1 differ, all NaN are one, the
    order of keys does not matter, and a tuple is the list that a journal makes of it."""
    if value is None:
        return "n"
    if isinstance(value, str):
        return f"s{len(value)}:{value}"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int):
        return f"i{value:x};"
    if isinstance(value, float):
        return f"i{int(value):x};" if value.is_integer() else f"r{value!r};"
    if type(value) is dict or isinstance(value, Mapping):
        items = sorted((canonical(key), canonical(item)) for key, item in value.items())
        return "{" + "".join(itertools.chain.from_iterable(items)) + "}"
    if isinstance(value, list | tuple):
        return "[" + "".join(map(canonical, value)) + "]"
    text = repr(value)
    return f"o{type(value).__name__}:{len(text)}:{text}"
