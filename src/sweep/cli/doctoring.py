"""`sweep doctor`. The rule of this file: it imports nothing of sweep that could itself be broken, `cli.common` included."""

from __future__ import annotations

import json
import sys

import click

from sweep.api.checkup import STATUSES, Finding, check_all, here, worst

BROKEN = 4
"""The exit code when something is broken."""


@click.command("doctor", epilog="\b\nExample:\n  sweep doctor")
@click.option(
    "--store",
    "store_url",
    envvar="SWEEP_STORE",
    metavar="URL",
    help="The store to look at. Also: SWEEP_STORE.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def doctor_command(store_url: str | None, as_json: bool) -> None:
    """Look at this machine, this installation and the store: what is wrong, and what to do about it.

    Nothing is changed. Exit code 0 when nothing is broken (there may be warnings), 4 when something is.
    """
    findings = []
    for finding in check_all(here(store_url or None)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        click.echo(json.dumps(_record(findings), indent=2))
    else:
        click.echo(f"\n{_sum(findings)}")
    if worst(findings) == "broken":
        sys.exit(BROKEN)


def _print(finding: Finding) -> None:
    click.echo(f"{finding.status:<8} {finding.name:<22} {_printable(finding.found)}")
    if finding.advice:
        click.echo(f"{'':<8} {'':<22} -> {_printable(finding.advice)}")


def _printable(text: str) -> str:
    """What any terminal can show, also one without UTF-8."""
    line = " ".join(text.split())
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _record(findings: list[Finding]) -> dict[str, object]:
    checks = [{"name": f.name, "status": f.status, "found": f.found, "advice": f.advice} for f in findings]
    return {"status": worst(findings), "counts": _counts(findings), "checks": checks}


def _counts(findings: list[Finding]) -> dict[str, int]:
    return {status: sum(finding.status == status for finding in findings) for status in STATUSES}


def _sum(findings: list[Finding]) -> str:
    counts = _counts(findings)
    warnings = f"{counts['warning']} warning{'s' if counts['warning'] != 1 else ''}"
    if counts["broken"]:
        return f"{counts['broken']} broken, {warnings}: see what the arrows say"
    return f"nothing is broken, {warnings}" if counts["warning"] else "all is well"
