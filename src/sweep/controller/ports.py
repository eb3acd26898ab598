"""The two ways to ask a searcher: here, and in a child process that never holds up the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sweep.controller.searching import Answer, Request, SearchFailed
from sweep.core.plugins import Observation, Searcher
from sweep.core.spec import SweepSpec
from sweep.search import make_searcher
from sweep.search.parent import ChildSearcher

TRIES = 3
"""After so many failures in a row a question is answered by random search: a sweep must not stand still over night."""


class InlineSearch:
    """Answers at once, in this process: for searchers that cost next to nothing."""

    def __init__(self, searcher: Searcher, lookahead: int = 8, most: int = 64) -> None:
        """`lookahead` grows up to `most` while trials run out before more are asked for: where many short runs end each
        second, their answers should not wait for proposals."""
        self.lookahead, self._most = lookahead, most
        self._searcher = searcher
        self._answer: Answer | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer waits to be fetched."""
        return self._answer is not None

    def ask(self, spec: SweepSpec, request: Request, seen: Sequence[Observation]) -> None:  # noqa: ARG002
        """Answer; `poll` fetches it."""
        if request.n > self.lookahead:  # not only what was in hand is used up
            self.lookahead = min(2 * self.lookahead, max(self._most, self.lookahead))
        proposals = self._searcher.propose(seen, request.n)
        self._answer = Answer(request, proposals, self._searcher.name, self._searcher.version)

    def poll(self) -> Answer | None:
        """The answer."""
        answer, self._answer = self._answer, None
        return answer

    def fileno(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to end."""


class ChildSearch:
    """Asks a searcher that runs in a child process."""

    lookahead = 0

    def __init__(self, spec: SweepSpec, warn: Callable[[str], None]) -> None:
        self._child = ChildSearcher(spec)
        self._warn = warn
        self._request: Request | None = None
        self._fallback: Answer | None = None
        self._asked = 0
        self._failures = 0

    @property
    def busy(self) -> bool:
        """Whether a question is open."""
        return self._request is not None

    def ask(self, spec: SweepSpec, request: Request, seen: Sequence[Observation]) -> None:
        """Begin to answer."""
        self._request = request
        if self._failures >= TRIES:
            self._failures = 0
            searcher = make_searcher(msgspec.structs.replace(spec, method="random", engine=None))
            self._warn(f"{self._child.name} failed {TRIES} times in a row; this proposal is a random one")
            self._fallback = Answer(
                request,
                searcher.propose(seen, request.n),
                f"random instead of {self._child.name}",
                searcher.version,
            )
            return
        self._asked += 1
        try:
            self._child.ask(self._asked, seen, request.n)
        except OSError as error:
            self._warn(f"cannot start the searcher's process: {error}")
            self._fail()

    def poll(self) -> Answer | None:
        """The answer, once it is there. Raises SearchFailed."""
        if self._fallback is not None:
            answer, self._fallback, self._request = self._fallback, None, None
            return answer
        if self._request is None:
            return None
        reply = self._child.poll()
        if reply is None:
            return None
        if reply.proposals is None:
            self._fail()
            raise SearchFailed(f"{self._child.name}: {reply.error}")
        request, self._request, self._failures = self._request, None, 0
        return Answer(request, reply.proposals, self._child.name, self._child.version)

    def fileno(self) -> int | None:
        """Readable when the answer is there."""
        return self._child.fileno() if self._request is not None and self._child.pid is not None else None

    def close(self) -> None:
        """End the child."""
        self._child.close()
        self._request = None

    def _fail(self) -> None:
        self._request = None
        self._failures += 1
