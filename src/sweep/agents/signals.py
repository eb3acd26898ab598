"""Signals as events of a selector: what arrives is noted, and the loop deals with it in its turn."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
from collections import deque
from typing import Any

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGTSTP)
"""SIGUSR1 is what Slurm sends some time before the end (`sbatch --signal=B:USR1@120`)."""


class Signals:
    """Notes the signals that end or stop an agent, from construction to `close`. In any but the main thread it notes
    nothing: there, signals are the program's own affair."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._arrived: deque[int] = deque()
        self._ours, self._theirs = socket.socketpair()
        for end in (self._ours, self._theirs):
            end.setblocking(False)
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in HEEDED}
            self._old_fd = signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        selector.register(self._ours, selectors.EVENT_READ, self._empty)

    def take(self) -> list[int]:
        """The signals that came since the last call, in order. Call it while no transaction of the store is open: Ctrl-Z
        stops the process here, where it holds no lock that other agents would wait for."""
        taken = []
        while self._arrived:
            number = self._arrived.popleft()
            if number == signal.SIGTSTP:
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                taken.append(number)
        return taken

    def close(self) -> None:
        """Put the handlers back that were there before."""
        if self._before:
            signal.set_wakeup_fd(self._old_fd)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._ours.close()
        self._theirs.close()

    def _note(self, number: int, _: object) -> None:
        self._arrived.append(number)

    def _empty(self) -> None:
        try:
            while self._ours.recv(4096):
                pass
        except BlockingIOError:
            pass
