"""Which failed runs are tried again, how often, when and with what: the `retry` key, applied.

The rule of this file: pure functions of the key and of what failed so far. A class with a `max` of its own is counted by
itself; all other classes share `retry.max`. Lost and preempted attempts are nobody's failure and never come here.
"""

from __future__ import annotations

from collections.abc import Mapping

from sweep.core.outcomes import ErrorClass
from sweep.core.spec import Retry, RetryClass, RetryRule

RETRY_CLASS: dict[ErrorClass, RetryClass] = {
    "": "exit",
    "exit": "exit",
    "signal": "exit",
    "memory": "oom",
    "gpu_memory": "oom",
    "run_time": "time",
    "no_progress": "time",
    "start": "node",
    "agent": "node",
    "node": "node",
}
"""What the spec calls each kind of failure; one without a kind counts as an exit code."""

_PLAIN = RetryRule()


def rule_of(retry: Retry, error: ErrorClass) -> RetryRule:
    """What is special about retrying after `error`; the plain rule where the spec says nothing of its class, and
    where nothing has failed yet."""
    return retry.rules.get(RETRY_CLASS[error], _PLAIN) if error else _PLAIN


def tried_again(retry: Retry, failures: Mapping[RetryClass, int], last: RetryClass) -> bool:
    """Whether a run that just failed by `last` goes on. `failures`: how often it has failed by each class since it was
    last asked for, this time included."""
    if last not in retry.on:
        return False
    own = _own_max(retry, last)
    if own is not None:
        return failures.get(last, 0) <= own
    return sum(n for name, n in failures.items() if _own_max(retry, name) is None) <= retry.max


def _own_max(retry: Retry, name: RetryClass) -> int | None:
    return retry.rules[name].max if name in retry.rules else None
