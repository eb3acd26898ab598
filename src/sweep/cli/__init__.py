"""The command line: arguments and output, nothing else. Commands are imported when they are called."""

from sweep.cli.main import main

__all__ = ["main"]
