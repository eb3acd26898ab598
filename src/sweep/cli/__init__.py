"""The command line: arguments and output, nothing else. Commands are imported when they are called."""

import gc
import os

from sweep.cli import interrupts

if interrupts.is_command():
    interrupts.end_at_once()
if os.environ.get(
    "_SWEEP_COMPLETE"
):  # a shell asks while somebody types: not even click is imported for that
    from sweep.cli.answering import main
else:
    _collects = gc.isenabled()
    gc.disable()  # of what is imported nothing is garbage
    from sweep.cli.main import main

    if _collects:
        gc.enable()

__all__ = ["main"]
