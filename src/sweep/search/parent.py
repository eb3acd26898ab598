"""The parent's side of a searcher in a child process.

The rule of this file: nothing here blocks. Questions are written by a thread of their own, because a pipe takes 64 kB
and a history can be larger; answers are read as far as they have come. A child that died is started again by the next
question and told everything.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

from sweep.core.codec import spec_to_builtins
from sweep.core.plugins import Observation
from sweep.core.spec import SweepSpec
from sweep.search import make_searcher
from sweep.search._wire import Answer, Ask, Frames, Init, decode_answer, frame

_READ_BYTES = 1 << 20
_TAIL_BYTES = 4000
_CLOSE_S = 2.0
# A proposal is small work: threads of a numeric library would only take CPUs from the runs.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ChildSearcher:
    """A searcher that runs in a child process. One question at a time, or several that are answered in their order."""

    def __init__(self, spec: SweepSpec, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: the child's (default: this process's); thread counts that it leaves open are set to one.

        Raises ValueError for a spec that no searcher can be made for.
        """
        searcher = make_searcher(spec)
        self.name, self.version = searcher.name, searcher.version
        self._init = frame(Init(spec_to_builtins(spec)))
        self._environment = dict(os.environ if environment is None else environment)
        for name in _THREADS:
            self._environment.setdefault(name, "1")
        self._child: _Child | None = None
        self._sent: list[Observation] = []
        self._open: list[int] = []  # questions without an answer yet
        self._death = ""

    @property
    def pid(self) -> int | None:
        """The child's process id, None when there is none."""
        return None if self._child is None else self._child.process.pid

    def start(self) -> None:
        """Start the child, unless it runs; `ask` does so, too. Raises OSError when no process can be started."""
        if self._child is None:
            self._child = _Child(self._environment)
            self._sent = []
            self._child.send(self._init)

    def fileno(self) -> int:
        """A descriptor that becomes readable with an answer, or when the child dies. It changes when the child is
        started again. Raises ValueError when no child runs."""
        if self._child is None:
            raise ValueError("the searcher's process is not running")
        return self._child.answers

    def ask(self, request: int, observations: Sequence[Observation], n: int) -> None:
        """Ask for `n` configs after `observations`; the answer carries `request`."""
        if self._child is not None and len(observations) < len(self._sent):
            self.close()  # the history has become shorter: another journal
        self.start()
        assert self._child is not None
        known = len(self._sent)
        changed = [
            observation
            for index, observation in enumerate(observations)
            if index >= known or (observation is not self._sent[index] and observation != self._sent[index])
        ]
        self._sent = list(observations)
        self._open.append(request)
        self._child.send(frame(Ask(request, changed, n)))

    def poll(self) -> Answer | None:
        """The next answer, None while there is none. When the child has died, each open question is answered with an
        error that ends with what the child last printed."""
        if self._child is not None:
            answer = self._child.receive()
            if answer is not None:
                self._open.pop(0)
                return answer
            if not self._child.ended:
                return None
            self._death = self._child.obituary()
            self._child.close()
            self._child = None
        return Answer(self._open.pop(0), error=self._death) if self._open else None

    def close(self) -> None:
        """End the child and forget open questions. May be called more than once; `ask` starts a new child."""
        if self._child is not None:
            self._child.close()
        self._child = None
        self._sent, self._open = [], []


class _Child:
    """One process, with its pipes, its writing thread and what it prints."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close())
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sweep.search.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                env=dict(environment),
                process_group=0,  # a Ctrl-C before the child can ignore it must not reach it
            )
        except BaseException:
            self._printed.close()
            raise
        assert self.process.stdin is not None and self.process.stdout is not None
        self._questions, self.answers = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.answers, False)
        self._frames, self._received = Frames(), list[Answer]()
        self.ended = False
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="searcher-questions", daemon=True)
        self._writer.start()

    def send(self, data: bytes) -> None:
        self._outgoing.put(data)

    def receive(self) -> Answer | None:
        """The next answer, as far as it has come; notes in `ended` that no more will."""
        while not self._received and not self.ended:
            try:
                data = os.read(self.answers, _READ_BYTES)
            except BlockingIOError:
                break
            self.ended = not data
            try:
                self._received += [decode_answer(body) for body in self._frames.feed(data)]
            except msgspec.MsgspecError:  # something else wrote to its standard output
                self.process.kill()
                self.ended = True
        return self._received.pop(0) if self._received else None

    def obituary(self) -> str:
        """Why there will be no answer."""
        try:
            code: object = self.process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            code = "none"
        size = self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, size - _TAIL_BYTES))
        tail = self._printed.read().decode("utf-8", "replace").strip()
        text = f"the searcher's process ended (exit status {code})"
        return f"{text}; its last output:\n{tail}" if tail else text

    def close(self) -> None:
        """End the process at once: it keeps nothing that could be lost."""
        self.process.kill()
        self.process.wait()
        self._outgoing.put(None)
        self._writer.join()  # without a reader its write fails at once
        for pipe in (self.process.stdin, self.process.stdout, self._printed):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _write(self) -> None:
        while (data := self._outgoing.get()) is not None:
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self._questions, view) :]
            except OSError:  # the child is gone; the end of its answers says so
                return
