"""One attempt as its agent knows it, and how its end is judged."""

from __future__ import annotations

import signal

from sweep.core import entries as e
from sweep.core.agent_actions import Ended


class Attempt:
    """One attempt on this node."""

    __slots__ = (
        "assignment",
        "error_class",
        "examined",
        "gone",
        "judge_at_s",
        "kill_at_s",
        "order",
        "progress_s",
        "raises",
        "reason",
        "running",
        "started_s",
    )  # fmt: skip

    def __init__(self, assignment: e.RunAssigned, now_s: float) -> None:
        self.assignment = assignment
        self.started_s = now_s
        self.progress_s = now_s
        self.order: e.Outcome | None = None
        """How the attempt is to end, once that is decided from outside."""
        self.reason = ""
        self.error_class: e.ErrorClass = ""
        self.kill_at_s: float | None = None
        self.raises = False
        """The program asked to be told (`init(stop="raise")`) instead of getting SIGTERM."""
        self.running = False
        self.gone: Ended | None = None
        """How its process has ended, while it is not judged yet."""
        self.judge_at_s = 0.0
        self.examined = False
        """It has failed, and its GPUs are being looked at."""


def verdict(attempt: Attempt, ended: Ended) -> tuple[e.Outcome, str, e.ErrorClass]:
    """Outcome, reason and class of error of an attempt whose process is gone."""
    if attempt.order is not None:
        finished_first = attempt.order == "preempted" and ended.exit_code == 0
        return (
            ("completed", "", "") if finished_first else (attempt.order, attempt.reason, attempt.error_class)
        )
    code = ended.exit_code
    if code == 0:
        return "completed", "", ""
    if ended.cause is not None:
        return "failed", ended.cause.text, ended.cause.error_class
    if code is not None and code < 0:
        return "failed", f"killed by {_signal_name(-code)}", "signal"
    return "failed", f"exit code {code}", "exit"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
