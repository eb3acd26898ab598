"""Whatever a spec file holds, the command ends soon, in little memory, with exit code 2 and file:line:column."""

from __future__ import annotations

import json
import random
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import PYTHON, Project

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS has no limit on memory")

MEMORY_BYTES = 1 << 30
CPU_S = 30
PLACE = re.compile(r"^[^:\n]+\.yaml:\d+:\d+[: ]")
GRID = b"method: grid\nprogram: t.py\nparameters:\n"


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


def said_of(project: Project, data: bytes, command: str = "validate") -> tuple[int, str, str]:
    """(exit code, output, errors) of a command on a spec of these bytes, under the limits."""
    (project.folder / "sweep.yaml").write_bytes(data)
    done = subprocess.run(
        [*PYTHON, command, "sweep.yaml"],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        preexec_fn=limit,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def nested(levels: int) -> bytes:
    return b"".join(b" " * level + b"a:\n" for level in range(levels))


def bomb() -> bytes:
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 30)]
    return b"\n".join(lines) + b"\n" + GRID + b"  x: {values: *a29}\n"


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "every byte": (bytes(range(256)) * 40, "not UTF-8"),
    "NUL bytes": (b"\0" * 100, "U+0000"),
    "latin 1": (b"name: caf\xe9\n", "1:10: this is not UTF-8 text (byte 0xe9)"),
    "UTF-16": ("method: grid".encode("utf-16"), "UTF-16"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 32)), "not UTF-8"),
    "10 MB of values": (GRID + b"  x: {values: [" + b"12345678, " * 998_000 + b"0]}\n", "more than 200,000"),
    "10 MB of parameters": (
        GRID + b"".join(b"  p%06d: {value: 1}\n" % i for i in range(450_000)),
        "more than 200,000",
    ),
    "10 MB of keys": (b"".join(b"k%07d: 1\n" % i for i in range(760_000)), "more than 200,000"),
    "10 MB of brackets": (b"[" * 9_900_000, "nested more than 100 deep"),
    "10 MB of anchors": (b"".join(b"- &a%d x\n" % i for i in range(700_000)), "more than 200,000"),
    "10 MB of quotes": (b"'" * 9_900_000, "a sweep file is a mapping"),
    "10 MB in one number": (GRID + b"  x: {value: " + b"9" * 9_900_000 + b"}\n", "cannot be read as a whole"),
    "10 MB of base 60": (GRID + b"  x: {value: " + b"1:" * 4_900_000 + b"1}\n", "cannot be read as a whole"),
    "10 MB of one name": (b"name: " + b"a" * 9_900_000 + b"\n", "method: is missing"),
    "more than 10 MB": (b"#" * 10_000_001, "larger than 10 MB"),
    "an alias bomb": (bomb(), "with its aliases expanded, the file has more than 200,000 values"),
    "3000 levels of mappings": (nested(3000), "nested more than 100 deep"),
    "101 levels in a value": (GRID + b"  x: {value: " + b"[" * 101 + b"]" * 101 + b"}\n", "100 deep"),
    "a grid of 10^12 points": (
        GRID + b"  x: {min: 1, max: 1000000}\n  y: {min: 1, max: 1000000}\n",
        "sweep.yaml:1:1 method: the grid has 1,000,000,000,000 points",
    ),
    "a grid of 10^60 points": (
        GRID + b"".join(b"  x%d: {min: 1, max: 1000000}\n" % i for i in range(10)),
        "the grid has at least 10^60 points",
    ),
    "bounds that are no numbers": (
        GRID.replace(b"grid", b"random") + b"  x: {min: .nan, max: 1.0}\n  y: {min: 0.0, max: .inf}\n",
        "sweep.yaml:5:17 parameters.y.max: must be a finite number, not .inf",
    ),
    "a Python tag": (
        GRID + b"  x: {value: !!python/object/apply:os.system ['touch pwned']}\n",
        "sweep.yaml:4:14 parameters.x.value: the tag `!!python/object/apply:os.system` is not allowed",
    ),
    "keys given twice": (
        GRID + b"  x: {value: 1}\n  x: {value: 2}\nmethod: grid\n",
        "sweep.yaml:6:1 method: given twice (first in line 1)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_meant(project: Project, name: str) -> None:
    data, words = BAD[name]
    code, out, err = said_of(project, data)
    assert (code, out) == (2, ""), err
    assert words in err
    *problems, last = err.splitlines()
    assert problems and all(PLACE.match(line) for line in problems), err
    assert re.fullmatch(r"sweep: \d+ problems?; nothing was recorded", last)
    assert not (project.folder / "pwned").exists()


@pytest.mark.parametrize("command", ["create", "run"])
def test_other_commands_refuse_it_as_well_and_record_nothing(project: Project, command: str) -> None:
    code, out, err = said_of(project, BAD["an alias bomb"][0], command)
    assert (code, out) == (2, "")
    assert PLACE.match(err)
    assert not (project.folder / ".sweep").exists()


def test_thousands_of_mistakes_are_cut(project: Project) -> None:
    _, _, err = said_of(project, GRID + b"".join(b"  p%d: 1\n" % i for i in range(5000)))
    *problems, rest, last = err.splitlines()
    assert len(problems) == 50
    assert rest == "… and 950 more"
    assert last == "sweep: 1000 problems; nothing was recorded"


def test_a_huge_grid_with_a_cap_is_worked_off_as_far_as_that(project: Project) -> None:
    """Its points are enumerated, never held: under the limits, in no time."""
    spec = GRID.replace(b"program: t.py", b"command: [sh, -c, 'exit 0']\nrun_cap: 3")
    spec += b"".join(b"  x%d: {min: 1, max: 1000000}\n" % i for i in range(10))
    code, out, err = said_of(project, spec, "create")
    assert code == 0, err
    project.sweep("agent", out.strip())
    assert [run["state"] for run in project.runs()] == ["completed"] * 3
    assert len({json.dumps(run["config"]) for run in project.runs()}) == 3


def test_a_config_that_no_command_line_can_carry(project: Project) -> None:
    """Accepted, since a program can read it from its file; where it is put on the command line, that is said."""
    text = "y" * 3_000_000
    project.write("sweep.yaml", f"program: t.py\nmethod: grid\nparameters: {{x: {{value: {text}}}}}\n")
    project.write("t.py", "")
    sweep = project.create()
    project.sweep("agent", sweep, code=3)
    (run,) = project.runs()
    assert run["state"] == "failed"
    assert "longer than this system allows" in run["reason"]
    assert "${args_json_file}" in run["reason"]


# --- mutated files ---------------------------------------------------------------------------------------------

EXAMPLES = sorted((Path(__file__).parents[2] / "sweeps").glob("*/sweep.yaml"))
OWN = [
    GRID + b"  x: {values: [1, 2]}\n  opt:\n    parameters:\n      lr: {min: 0.1, max: 1.0}\n",
    b"""\
name: a sweep
program: train.py
method: bayes
metric: {name: val.loss, goal: minimize, target: 0.1}
early_terminate: {type: hyperband, min_iter: 3, eta: 2}
run_cap: 20
replicates: 2
retry: {max: 2}
limits: {run_time: 1h30m, no_progress: 90s}
env: {A: 1.10, B: "${envvar:HOME}"}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1.0e-1}
  layers: {distribution: q_uniform, min: 1, max: 8, q: 1}
  act: {values: [relu, gelu, null, true], probabilities: [0.25, 0.25, 0.25, 0.25]}
  base: &base {value: 3}
  other: *base
command: [python, "${program}", "${args}"]
""",
]
PIECES = [
    *(
        b"\x00",
        b"\xff",
        b"\t",
        b"\r",
        b"\n",
        b" ",
        b"  ",
        b":",
        b": ",
        b"- ",
        b"'",
        b'"',
        b"#",
        b"|\n",
        b">-\n",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"&a ",
        b"*a",
        b"*b",
        b"<<: ",
        b"!!int ",
        b"!!binary ",
        b"!x ",
        b"? ",
        b"---\n",
    ),
    *(
        b"null",
        b"~",
        b".nan",
        b"-.inf",
        b"1e999",
        b"9" * 40,
        b"0x",
        b"1:2:3",
        b"-1",
        b"true",
        b"2001-01-01",
        b"%",
    ),
    *(
        "é".encode(),
        "\u2028".encode(),
        "😀".encode(),
        b"\xc3",
        b"\xef\xbb\xbf",
        b"a" * 300,
        b"$",
        b"${envvar:X}",
    ),
]


def mutated(original: bytes, rng: random.Random) -> bytes:
    """One to four changes of the kind that a slip, a bad merge or a broken disk makes."""
    data = original
    for _ in range(rng.randint(1, 4)):
        lines = data.split(b"\n")
        at, line = rng.randrange(len(data) + 1), rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif kind == 2:
            data = data[:at] + data[at + rng.randint(1, 12) :]
        elif kind == 3:
            data = data[:at]
        elif kind == 4:
            lines.insert(rng.randrange(len(lines)), lines[line])
            data = b"\n".join(lines)
        elif kind == 5:
            data = b"\n".join(lines[:line] + lines[line + 1 :])
        elif kind == 6:
            lines[line] = b" " * rng.randint(1, 3) + lines[line]
            data = b"\n".join(lines)
        else:
            key, colon, _ = lines[line].partition(b":")
            lines[line] = key + colon + b" " + rng.choice(PIECES)
            data = b"\n".join(lines)
    return data


CHILD = """
import contextlib, io, json, sys
from sweep.cli import main
found = []
for name in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["validate", name])
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            code = repr(error)
    found.append((name, code, out.getvalue(), err.getvalue()))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """What the command said of 240 mutated files, all in one process under the limits."""
    folder = tmp_path_factory.mktemp("mutated")
    originals = [path.read_bytes() for path in EXAMPLES] + OWN
    rng = random.Random(20240229)
    for number in range(240):
        data = mutated(originals[number % len(originals)], rng)
        (folder / f"m{number:03}.yaml").write_bytes(data)
    names = sorted(path.name for path in folder.iterdir())
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, *names],
        cwd=folder,
        capture_output=True,
        preexec_fn=limit,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    yield json.loads(done.stdout)


def test_mutated_files_are_specs_or_mistakes(outcomes: list[Any]) -> None:
    bad = 0
    for name, code, out, err in outcomes:
        assert code in (0, 2), (name, code, err)
        assert "Traceback" not in err
        if code == 2:
            bad += 1
            *problems, last = err.splitlines()
            assert problems and all(line.startswith(f"{name}:") for line in problems), (name, err)
            assert all(PLACE.match(line) for line in problems), (name, err)
            assert last.endswith("nothing was recorded")
            assert out == ""
        else:
            assert "search, " in out, (name, out)
    assert bad >= 200, "the mutations are too tame"
