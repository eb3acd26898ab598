"""The `sweep` command: a group whose commands are imported only when they are used, and the exit codes."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys

import click

from sweep import __version__
from sweep.cli import interrupts

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("starting_out", "Write a sweep.yaml and a train.py to start from."),
    "create": ("creating", "Record a sweep and print its ID."),
    "agent": ("working", "Work a sweep off on this machine."),
    "agents": ("agents_cmd", "Show who is at work, and end agents."),
    "controller": ("controlling", "Lead a sweep without working on it."),
    "launch": ("launching", "Work a sweep off on a Ray cluster, or by Slurm."),
    "run": ("working", "Create, work off and plot a sweep: the three in one."),
    "validate": ("creating", "Check a sweep.yaml: errors, warnings, size."),
    "simulate": ("simulating", "Tell what ending runs early would save, by recorded curves."),
    "ls": ("sweeps", "List the sweeps of this project."),
    "status": ("listing", "Show how far a sweep is, and who works on it."),
    "runs": ("runs", "List the runs of a sweep; filter, sort, export."),
    "show": ("listing", "Show everything that is recorded about a run."),
    "best": ("confirming", "Show the best run of a sweep and its config."),
    "confirm": ("confirming", "Run the best configs again on fresh seeds."),
    "rerun": ("rerunning", "Execute a run once more by hand, with its command, config and seed."),
    "reproduce": ("reproducing", "Execute a run again from its record and compare every value."),
    "compare": ("comparing", "Show runs side by side: config, code, packages, metrics."),
    "diff": ("differing", "Show how two runs differ, code and metrics line by line."),
    "audit": ("auditing", "Derive a sweep's proposals and prunings again."),
    "logs": ("output", "Print a run's output, or follow it."),
    "fetch": ("fetching", "Write a run's checkpoint out of the store into a folder."),
    "pause": ("control", "Start no new runs until `sweep resume`."),
    "resume": ("control", "Go on with a paused, stopped or cancelled sweep."),
    "stop": ("control", "Start no new runs; let running ones finish."),
    "cancel": ("control", "Start no new runs and end running ones."),
    "retry": ("revising", "Try failed runs again."),
    "extend": ("revising", "Give a sweep more trials."),
    "edit": ("revising", "Give a sweep another spec; recorded trials stay."),
    "tag": ("annotating", "Tag a sweep or a run."),
    "note": ("annotating", "Write a note about a sweep or a run."),
    "rm": ("removing", "Remove sweeps with all that is recorded."),
    "gc": ("removing", "Free disk space: checkpoints, logs, what no sweep needs."),
    "plot": ("plotting", "Draw a sweep: importance, curves, best so far, slices."),
    "artifact": ("artifact", "List, fetch and check what runs have logged by name."),
    "report": ("reporting", "Write the report on a sweep, with the reproducibility checklist."),
    "bundle": ("bundling", "Pack a sweep, its report and its artifacts into one archive."),
    "export": ("moving", "Write everything about a sweep as JSON lines."),
    "import": ("moving", "Record an exported sweep in this store."),
    "store": ("store_cmd", "Serve a store that several machines share."),
    "doctor": ("doctoring", "Check machine, installation and store: what is wrong, what to do."),
    "schema": ("schema", "Print the JSON Schema of sweep.yaml, for editors."),
    "completion": ("completion", "Print what completes `sweep` in bash, zsh or fish."),
    "wandb": ("wandb_script", "Run a script that calls wandb.sweep and wandb.agent itself."),
    "log": ("logging", "Report metrics from inside a run's shell script."),
}
"""Command -> module under `sweep.cli` that defines it (as `<command>_command`), and its one-line help."""


LISTINGS = ("ls", "status", "runs", "show", "best")
"""Commands that only show something. They end as soon as it is shown, and never look for garbage: both would cost more than some of
them do."""


class UserMistake(click.ClickException):
    """Something the user can mend: one message, exit code 2, no traceback."""

    exit_code = 2

    def show(self, file: object = None) -> None:  # noqa: ARG002
        click.echo(f"sweep: {self.format_message()}", err=True)


SYNONYMS = {
    "list": "ls",
    "delete": "rm",
    "remove": "rm",
    "kill": "cancel",
    "start": "agent",
    "work": "agent",
    "new": "create",
    "help": "--help",
}
"""What other tools call it."""


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"sweep.cli.{COMMANDS[name][0]}")
        if _alone and name not in LISTINGS:
            _go_on()
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a misspelt command."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = [SYNONYMS[name]] if name in SYNONYMS else difflib.get_close_matches(name, COMMANDS, n=1)
            if name.endswith((".yaml", ".yml")):
                near = [f"create {name}"]
            hint = f"did you mean `sweep {near[0]}`?" if near else "`sweep --help` lists the commands"
            raise UserMistake(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


EPILOG = """\b
Example:
  sweep create sweep.yaml     # records the sweep, prints its ID
  sweep agent latest          # works it off, on every free GPU or CPU of this machine
  sweep plot latest           # which hyperparameters mattered

\b
An ID may be shortened to a unique beginning, or be `latest`.
Exit codes: 0 done, 1 an error in sweep itself, 2 your mistake (the message says which),
3 the agent gave up because its first runs all failed, or runs fail on its node only; or nothing in the sweep has succeeded,
4 `sweep doctor` found something broken, 5 `sweep audit` or `sweep artifact verify` found a difference, 6 it could not derive
everything, 130 interrupted, 143 terminated."""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="sweep %(version)s")
def cli() -> None:
    """Hyperparameter sweeps that you run yourself: seeded, recorded, resumable."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        interrupts.heed()
        _fill_streams()
        if argv is None:
            _hurry()
        code = _run(argv)
        if _alone or (argv is None and interrupts.came()):
            _end(code)
        sys.exit(code)
    except KeyboardInterrupt:
        code = _interrupted()
        if argv is None:
            _end(code)
        sys.exit(code)
    finally:
        interrupts.end_at_once()
        _flush_streams()


def _run(argv: list[str] | None) -> int:
    """The exit code of a command. Commands may also raise SystemExit."""
    try:
        result = cli.main(args=argv, prog_name="sweep", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        code = _interrupted()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except UserMistake as mistake:
        mistake.show()
        code = mistake.exit_code
    except click.ClickException as mistake:
        mistake.show()
        code = 2
    except Exception:
        if not interrupts.came():
            raise
        code = _interrupted()
    return code


_alone = False
"""This process is here for a listing, or for no command at all (a help text, the version)."""


def _hurry() -> None:
    """Look for no garbage until it is known which command it is."""
    global _alone
    _alone = True
    gc.disable()


def _go_on() -> None:
    """It is no listing."""
    global _alone
    _alone = False
    gc.enable()


def _end(code: int) -> None:
    """End the process without taking everything in it apart first. A listing has closed what it had opened, and started nothing; and
    what Ctrl-C has left half imported may not bear it: a library has ended a process with a fatal error then."""
    interrupts.end_at_once()
    atexit._run_exitfuncs()
    _flush_streams()
    os._exit(code)


def _interrupted() -> int:
    """Say so, once; a further Ctrl-C ends the process without a word."""
    interrupts.end_at_once()
    try:
        click.echo("\ninterrupted", err=True)
    except OSError:  # nobody reads any more
        pass
    return 130


def _fill_streams() -> None:
    """Where standard input, output or error is closed, open the null device in its place: else the next file that is
    opened, the store say, gets its number, and is written to by whoever prints."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _flush_streams() -> None:
    """Write out what is buffered. Where nobody reads any more, the null device takes it: else Python fails at its own
    end and replaces the exit code by 120."""
    for stream, fd in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:  # None where it was closed when Python started
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
