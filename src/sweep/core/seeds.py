"""Seeds as pure functions of what they belong to: never of a worker, an order of calls, or a clock.

Every seed is a blake2b hash over an explicit, tagged encoding, so that the same sweep gives the same seeds on every
machine, Python version and release. The encoding is part of the record format: it may never change (golden values
in the tests hold it).
"""

from __future__ import annotations

import functools
import hashlib
import operator
from typing import TYPE_CHECKING

from sweep.core.equality import canonical

if TYPE_CHECKING:
    from sweep.core.space import Config
    from sweep.core.spec import SweepSpec

_DOMAIN = b"sweep/seed/1"

# Seeds of one purpose never equal seeds of another: what confirms a result was never searched on.
_RANGES: dict[str, tuple[int, int]] = {
    "search": (0, 2**31),
    "confirm": (2**31, 2**31 + 2**30),
    "reproduce": (2**31 + 2**30, 2**32),
}


def seed_of(spec: SweepSpec, config: Config, replicate: int, purpose: str = "search") -> int:
    """The seed of a run of this config, by the spec's `seed` and `seeds`."""
    own = canonical(config) if spec.seeds == "independent" else ""
    return run_seed(spec.seed, replicate, purpose, own)


@functools.lru_cache(1024)  # one and the same for all trials
def run_seed(sweep_seed: int, replicate: int, purpose: str = "search", own: str = "") -> int:
    """The seed of replicate `replicate` (0, 1, …) of every trial of a sweep, in [0, 2**32).

    All trials share it (common random numbers), so that comparisons between them are paired; with `own`, a key of the trial's config, each
    has seeds of its own. The ranges of the
    purposes `search`, `confirm` and `reproduce` are disjoint. 2**32 - 1 is the largest seed that numpy's legacy
    generator takes. Raises ValueError for another purpose or a negative replicate.
    """
    if purpose not in _RANGES:
        raise ValueError(f"purpose {purpose!r} is unknown; it must be one of {', '.join(_RANGES)}")
    if replicate < 0:
        raise ValueError(f"replicate must be 0 or more, not {replicate}")
    low, high = _RANGES[purpose]
    keys = (replicate, own) if own else (replicate,)
    return low + derive(sweep_seed, "run", purpose, *keys) % (high - low)


def derive(sweep_seed: int, *keys: int | str) -> int:
    """A 64-bit seed, in [0, 2**64), for whatever `keys` name: `derive(seed, "random", index)`.

    Different keys give independent values; 1 and "1" are different keys, and so are ("a", "b") and ("ab",).
    Integers of any size and sign are accepted (numpy's, too). Raises TypeError for any other type.
    """
    encoded = _DOMAIN + b"".join(map(_encode, (sweep_seed, *keys)))
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")


def uniform(seed: int, stream: str, index: int, path: tuple[str, ...]) -> float:
    """A number in (0, 1), uniform with 53 bits, that belongs to these arguments."""
    return ((derive(seed, stream, index, *path) >> 11) + 0.5) * 2.0**-53


def _encode(key: int | str) -> bytes:
    """Tag, length, content: no two different sequences of keys share an encoding."""
    if isinstance(key, str):
        return _encode_text(key)
    content = str(operator.index(key))
    return f"i{len(content)}:{content}".encode("ascii")


@functools.lru_cache(1024)  # purposes and names of parameters come again and again
def _encode_text(key: str) -> bytes:
    content = key.encode("utf-8", "surrogatepass")
    return b"s" + str(len(content)).encode("ascii") + b":" + content
