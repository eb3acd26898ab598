"""Passwords in the store's address, planted wherever they could get out: messages, records, process lists, runs."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import sqlite3
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweep.provenance import known_secrets, record_node, scrub
from sweep.provenance.scrub import holds_secret
from sweep.stores._place import shown
from tests.integration.conftest import Project

PLANTED = "pLaNtEd-s3cret%2F77"
MEANT = "pLaNtEd-s3cret/77"
USER = (
    f":{PLANTED}@127.0.0.1:1"  # apart from the rest: this file goes into the record of the example in README
)
ADDRESSES = (
    "redis://me" + USER + "/0",
    "rediss://" + USER,
    "nosuch://me" + USER + f"/x?password={PLANTED}",
)
SPEC = "program: train.py\nmethod: grid\nparameters: {x: {values: [1, 2]}}\n"
TRAIN = """
import os, subprocess, sys, time
print(dict(os.environ), sys.argv)
while os.path.exists("wait"):
    time.sleep(0.05)
"""


def holds(text: str | bytes, *wanted: str) -> bool:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return any(secret.encode() in data for secret in wanted or (PLANTED, MEANT))


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_message_has_it(project: Project, address: str) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    commands = (
        ["ls"],
        ["create", "sweep.yaml"],
        ["agent", "latest", "-d"],
        ["doctor"],
        ["logs", "latest-0"],
    )
    with ThreadPoolExecutor(2 * len(commands)) as pool:  # each waits a while for a server that is not there
        tried = [pool.submit(project.run, *words, SWEEP_STORE=address) for words in commands]
        tried += [pool.submit(project.run, *words, "--store", address) for words in commands]
    for done in (one.result() for one in tried):
        assert done.returncode != 0
        assert not holds(done.stdout + done.stderr), done.args


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_record_process_list_or_run_has_it(project: Project) -> None:
    secret = secrets.token_hex(12)  # nobody else's on this machine
    project.env["SWEEP_STORE"] = "redis://me" + f":{secret}@127.0.0.1:1/0"
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    project.write("notes.txt", f"connect with {secret}\n")
    project.write("wait", "")
    at = ["--store", str(project.folder / "x.db")]
    made = project.run("create", "sweep.yaml", *at)
    sweep = made.stdout.strip()
    assert "notes.txt" in made.stderr, "a file with the password is left out, and that is said"
    assert not holds(made.stderr, secret)
    project.sweep("agent", sweep, "--detach", "--slots", "1", *at)

    def running() -> bool:
        return bool(project.processes(f"SWEEP_ID={sweep}"))

    project.wait_for(running)
    [pid] = [one["pid"] for one in json.loads(project.sweep("agents", sweep, "--json", *at))]
    assert b"--store" not in Path(f"/proc/{pid}/cmdline").read_bytes(), "an address may hold a password"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert not holds(path.read_bytes(), secret), path
        except OSError:
            continue
    for process in project.processes(f"SWEEP_ID={sweep}"):
        variables = Path(f"/proc/{process}/environ").read_bytes()
        assert not holds(variables, secret) and b"SWEEP_STORE" not in variables
    (project.folder / "wait").unlink()
    project.wait_for(lambda: json.loads(project.sweep("status", sweep, "--json", *at))["state"] == "ended")
    project.wait_for(lambda: json.loads(project.sweep("agents", "--json", *at)) == [])
    assert "SWEEP_RUN_ID" in project.sweep("logs", f"{sweep}-0", *at)
    for line in project.sweep("export", sweep, *at).splitlines():
        found = json.loads(line)
        assert not holds(line, secret)
        assert "blob" not in found or not holds(base64.b64decode(found["blob"]["data"]), secret)
    for path in project.folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the agent's process may be closing its files still
            assert path.name == "notes.txt" or not path.is_file() or not holds(path.read_bytes(), secret), (
                path
            )


READING = """
import os, sweep
run = sweep.init()
for path in os.environ["READS"].split():
    run.use(path)
run.log({"loss": 1.0})
"""


def test_no_record_has_what_is_in_data_or_a_secret_in_its_path(project: Project) -> None:
    """The spec itself is recorded as it is; what runs name, and what lies in the folders that the spec names, is looked through."""
    inside, variable, token = secrets.token_hex(12), secrets.token_hex(12), f"hf_{secrets.token_hex(17)}"
    project.env["DB_PASSWORD"] = variable
    project.env["READS"] = f"data/{token}.csv {project.folder}/data/{variable}.csv"
    for name in (token, variable):
        project.write(f"data/{name}.csv", "1\n")
    project.write("data/rows.csv", f"password,{inside}\n")
    project.write(".gitignore", "data\n.sweep\n")
    subprocess.run(["git", "init", "-q"], cwd=project.folder, check=True)
    project.work_off(SPEC + "inputs: [data]\nmetric: {name: loss}\n", READING)
    shown = project.json("show", "latest-0")
    [folder] = [one for one in shown["data"] if one["path"] == "data"]
    assert folder["files"] == 3
    assert len(shown["data"]) == 3 and all(one["digest"] and one["changed"] is False for one in shown["data"])
    listings = 0
    for line in project.sweep("export", "latest").splitlines():
        found = json.loads(line)
        blob = base64.b64decode(found["blob"]["data"]) if "blob" in found else b""
        listings += blob.startswith(b"[[") and b"rows.csv" in blob and b"[redacted].csv" in blob
        for text in (line, blob):
            assert not holds(text, inside, variable, token), text
    assert listings == 1
    done = project.run("reproduce", "latest-0", "--json")
    assert not holds(done.stdout + done.stderr, inside, variable, token)


def test_this_file_goes_into_the_record_of_the_examples() -> None:
    """Its name has it looked through: what README shows first should not begin with a warning."""
    assert holds_secret(Path(__file__).read_bytes()) == ""


PRINTING = """
import os, sys, sweep
run = sweep.init()
print("x" * 8180 + os.environ["HUB_TOKEN"] + " is the token")
run.log({"loss": run.config["x"]})
print(sys.argv, file=sys.stderr)
sys.exit(run.config["x"] - 1)
"""


def stored(project: Project) -> bytes:
    """Every value in the store, compressed ones as they were, and every other file that sweep has made but the runs' own output."""
    found = [
        json.dumps(project.sweep("export", sweep["id"])).encode()
        for sweep in json.loads(project.sweep("ls", "--json"))
    ]
    with sqlite3.connect(project.folder / ".sweep" / "store.db") as store:
        tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        for value in (
            value for table in tables for row in store.execute(f'select * from "{table}"') for value in row
        ):
            data = value if isinstance(value, bytes) else str(value).encode()
            found.append(data)
            for start in (0, 8):  # pieces of outputs begin with their places
                with contextlib.suppress(zlib.error):
                    found.append(zlib.decompressobj().decompress(data[start:]))
    files = [path for path in (project.folder / ".sweep").rglob("*") if path.is_file()]
    return b"\n".join([*found, *(path.read_bytes() for path in files if not path.name.startswith("output"))])


def test_the_whole_store_has_none_of_those_that_are_planted(project: Project) -> None:
    """In the address of a remote, in files that are new or changed, also after the sweep was created, in variables, in arguments of
    the program and of sweep itself, and in what the program prints."""
    token, key, remote, file, late = (f"planted{secrets.token_hex(12)}" for _ in range(5))
    github = f"ghp_{secrets.token_hex(18)}"

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=project.folder, check=True, capture_output=True)

    project.env |= {"HUB_TOKEN": token, "SERVICE_API_KEY": key, "FILE_PASSWORD": file, "LATE_SECRET": late}
    project.write("train.py", PRINTING)
    project.write("helper.py", "x = 1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", f"https://{remote}@example.org/code.git")
    project.write("helper.py", f"x = '{github}'\n")
    project.write("notes.txt", f"the password is {file}\n")
    command = 'command: ["${env}", "${interpreter}", "${program}", "--api-key", "${envvar:SERVICE_API_KEY}", "${args}"]\n'
    project.write(
        "sweep.yaml",
        SPEC + command + "metric: {name: loss}\nretry: {max: 0}\nenv: {AGAIN: '${envvar:HUB_TOKEN}'}\n",
    )
    sweep = project.create()
    project.write("later.txt", f"written after the sweep was created: {late}\n")
    said = project.run("agent", sweep)
    shown = project.run("show", f"{sweep}-1")
    again = project.run("reproduce", f"{sweep}-0", "--json")
    assert json.loads(again.stdout)["verdict"] == "identical"
    assert "failed" in shown.stdout and "[redacted]" in shown.stdout
    everything = stored(project)
    assert b"is the token" in everything and b"train.py" in everything, "it was looked into"
    for planted in (token, key, remote, file, late, github):
        assert planted.encode() not in everything
        assert planted not in said.stdout + said.stderr + shown.stdout + again.stdout + again.stderr


def test_a_password_in_an_address_counts_as_known() -> None:
    for address in ADDRESSES:
        known = known_secrets({"SWEEP_STORE": address})
        assert known == (PLANTED, MEANT)
        for text in (f"it says {address}", f"AUTH {MEANT}", f"AUTH {PLANTED} failed"):
            assert not holds(scrub(text, known))
        assert not holds(json.dumps(record_node(environ={"SWEEP_STORE": address, "LANG": MEANT})))
        assert not holds(shown(address)) and shown(address).partition("://")[0] == address.partition("://")[0]
    assert known_secrets({"A": "http://host:8080/a:b@c", "B": "redis://h/0", "C": "x://u" + ":short@h"}) == ()
    assert shown("sqlite:///a@b?c.db") == "sqlite:///a@b?c.db"
    assert shown("redis://me@host:1/2?x=y") == "redis://host:1/2"
