"""Ctrl-C at moments that a test from outside seldom hits."""

from __future__ import annotations

import signal
import subprocess
import sys

BEGIN = """
import signal, sys, time
from sweep.cli import interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started this in the background
interrupts.end_at_once()
interrupts.heed()
class Closing:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
"""


def said(program: str) -> tuple[str, str, int]:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program], check=False, capture_output=True, text=True, timeout=60
    )
    return done.stdout, done.stderr, done.returncode


def test_one_inside_a_callback_comes_outside_of_it() -> None:
    """Python prints what a destructor raises, and goes on: the command would not stop."""
    out, err, code = said(
        """
try:
    Closing()
    for _ in range(6000):
        time.sleep(0.01)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted", interrupts.came())
"""
    )
    assert (out, err, code) == ("interrupted True\n", "", 0)


def test_one_that_comes_while_another_is_put_off() -> None:
    out, err, code = said(
        """
again = interrupts._soon
def twice():
    interrupts._soon = again
    signal.raise_signal(signal.SIGINT)
    again()
interrupts._soon = twice
try:
    Closing()
    for _ in range(6000):
        time.sleep(0.01)
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    assert (out, err, code) == ("interrupted\n", "", 0)


def test_one_at_the_very_end_says_nothing() -> None:
    out, err, code = said(
        """
try:
    Closing()
    interrupts.end_at_once()
    time.sleep(0.2)
    print("ended")
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    assert out in ("ended\n", "interrupted\n") and (err, code) == ("", 0)


def test_one_just_before_it_would_end_the_process_ends_it() -> None:
    out, err, code = said(
        """
set_ = interrupts._set
def late(*args):
    signal.raise_signal(signal.SIGINT)
    set_(*args)
interrupts._set = late
try:
    pass
finally:
    interrupts.end_at_once()
print("ended", flush=True)
"""
    )
    assert (out, err, code) == ("", "", -signal.SIGINT)
