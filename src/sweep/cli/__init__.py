"""The command line: arguments and output, nothing else. Commands are imported when they are called."""

import os

from sweep.cli import interrupts

if interrupts.is_command():
    interrupts.end_at_once()
if os.environ.get(
    "_SWEEP_COMPLETE"
):  # a shell asks while somebody types: not even click is imported for that
    from sweep.cli.answering import main
else:
    from sweep.cli.main import main

__all__ = ["main"]
