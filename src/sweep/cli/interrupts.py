"""What Ctrl-C does to a command: while it works, KeyboardInterrupt; before and after, it ends the process without a word.

Python would show a traceback of whatever was being imported or torn down. A process that SIGINT has ended is exit code 130
to a shell, as an interrupted command is. Where SIGINT is ignored (a job in the background), it stays so.

The rule of this file: imported before anything else, it imports nothing that costs anything.
"""

import _signal  # type: ignore[import-not-found]
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_COMMANDS = ("/sweep", "/sweep/__main__.py")


def is_command() -> bool:
    """Whether this process was started as `sweep` or `python -m sweep`, rather than importing us."""
    return bool(sys.argv) and sys.argv[0].endswith(_COMMANDS)


def end_at_once() -> None:
    """From now on Ctrl-C ends the process, and nothing is said."""
    _set((_signal.default_int_handler, _interrupt), _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGALRM) is _interrupt:
        _signal.setitimer(_signal.ITIMER_REAL, 0)


def heed() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt."""
    _set((_signal.SIG_DFL,), _interrupt)
    sys.unraisablehook = _again


def came() -> bool:
    """Whether Ctrl-C was pressed while it was heeded. Compiled libraries replace KeyboardInterrupt by errors of their own."""
    return _came


_came = False
_AGAIN_S = 0.001


def _interrupt(number: int, frame: "FrameType | None") -> None:
    global _came
    _came = True
    if _signal.getsignal(_signal.SIGINT) is not _interrupt:
        return  # the timer was late: the command is at its end
    at = frame
    while at is not None:
        if at.f_code is _again.__code__:  # raised in there, it would only be printed
            _soon()
            return
        if at.f_code is end_at_once.__code__:  # nobody catches anything any more
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
            _signal.raise_signal(_signal.SIGINT)
        at = at.f_back
    _signal.default_int_handler(number, frame)


def _again(what: "sys.UnraisableHookArgs") -> None:
    """An interrupt inside a callback, where Python would only print it, comes once more outside."""
    if issubclass(what.exc_type, KeyboardInterrupt):
        _soon()
    else:
        sys.__unraisablehook__(what)


def _soon() -> None:
    """Interrupt again, when whoever asks has returned."""
    if _signal.getsignal(_signal.SIGINT) is _interrupt:
        _signal.signal(_signal.SIGALRM, _interrupt)
        _signal.setitimer(_signal.ITIMER_REAL, _AGAIN_S)


def _set(before: tuple[object, ...], after: object) -> None:
    try:
        if _signal.getsignal(_signal.SIGINT) in before:
            _signal.signal(_signal.SIGINT, after)
    except ValueError:  # not the main thread: it is not our process
        pass
