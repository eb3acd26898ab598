"""A searcher in a process of its own: `python -m sweep.search.child`.

The rule of this file: the process belongs to its parent. It answers questions that come on standard input, in their
order, on standard output; it ends at once when standard input closes, also in the middle of an answer; and it ignores
Ctrl-C, which the terminal sends to it, too, but which is the parent's to act on.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback

from sweep.core.codec import spec_from_builtins
from sweep.core.plugins import Observation, Searcher
from sweep.search import make_searcher
from sweep.search._wire import Answer, Ask, Frames, Init, decode_message, frame

_READ_BYTES = 1 << 20


def main() -> None:
    """Serve until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not get between the answers
    messages: queue.SimpleQueue[Init | Ask] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    server = _Server()
    while True:
        answer = server.serve(messages.get())
        if answer is not None:
            _write(answers, frame(answer))


class _Server:
    """The spec's searcher and the observations so far."""

    def __init__(self) -> None:
        self._searcher: Searcher | None = None
        self._failure = "no spec was sent"
        self._seen: list[Observation] = []

    def serve(self, message: Init | Ask) -> Answer | None:
        if isinstance(message, Init):
            self._init(message)
            return None
        try:
            for observation in message.changed:
                self._put(observation)
            if self._searcher is None:
                return Answer(message.request, error=self._failure)
            return Answer(message.request, self._searcher.propose(self._seen, message.n))
        except Exception as error:
            traceback.print_exc()
            return Answer(message.request, error=_describe(error))

    def _init(self, message: Init) -> None:
        self._searcher, self._seen = None, []
        try:
            self._searcher = make_searcher(spec_from_builtins(message.spec))
        except Exception as error:
            traceback.print_exc()
            self._failure = _describe(error)

    def _put(self, observation: Observation) -> None:
        if observation.trial < len(self._seen):
            self._seen[observation.trial] = observation
        elif observation.trial == len(self._seen):
            self._seen.append(observation)
        else:
            raise ValueError(f"trial {observation.trial} was sent before trial {len(self._seen)}")


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _read(messages: queue.SimpleQueue[Init | Ask]) -> None:
    """Take everything in at once, so that the parent never waits for the searcher to read."""
    try:
        frames = Frames()
        while data := os.read(0, _READ_BYTES):
            for body in frames.feed(data):
                messages.put(decode_message(body))
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
