"""What a searcher in a child process and its parent say to each other: length-prefixed msgpack frames.

The rule of this file: a frame is four bytes of length (big-endian), then one message. Observations travel once; later
only those that have changed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sweep.core.plugins import Observation, Proposals

_PREFIX = 4


class Init(msgspec.Struct, frozen=True, tag="init"):
    """First message to the child: the spec as builtins."""

    spec: dict[str, Any]


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A question. `changed` are the observations that are new or different since the last question."""

    request: int
    changed: list[Observation]
    n: int


class Answer(msgspec.Struct, frozen=True):
    """The answer to question `request`: proposals, or else a text that says why there are none."""

    request: int
    proposals: Proposals | None = None
    error: str = ""


_encode = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(Init | Ask).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


def frame(message: Init | Ask | Answer) -> bytes:
    """`message` with its length in front."""
    body = _encode(message)
    return len(body).to_bytes(_PREFIX, "big") + body


class Frames:
    """Cuts a stream of bytes into messages' bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete with `data`."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= _PREFIX:
            end = _PREFIX + int.from_bytes(self._buffer[:_PREFIX], "big")
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[_PREFIX:end]))
            del self._buffer[:end]
        return bodies
