"""Repeating a run by hand: the command line to copy, and what `sweep rerun` executes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kept import curve, keep, project_store, spec_of
from sweep.api.changing import code_change
from sweep.api.reading import load_views
from sweep.api.repeating import CannotRepeat, Recipe, command_line, executable, recipe_of
from sweep.core.rows import Views
from sweep.provenance import record_sweep
from sweep.stores import Store

CONFIG: dict[str, Any] = {"lr": 0.1, "text": "it's $HOME; `x`"}
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = project_store(tmp_path)
    yield found
    found.close()


def recipe(folder: Path, *args: str, **changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "id": "s-1", "workdir": str(folder), "argv": (sys.executable, "-c", SHOW, *args), "env": {"A": "1 2"},
        "seed": 7, "config": CONFIG,
    }  # fmt: skip
    return Recipe(**{**fields, **changes})


def shell(line: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd="/",
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_line_does_what_the_run_did(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s a "folder" \U0001f600'
    folder.mkdir()
    done = shell(command_line(recipe(folder, "--text=it's $HOME; `x`", "")))
    assert done.returncode == 0, done.stderr
    argv, env, cwd = json.loads(done.stdout)
    assert argv == ["--text=it's $HOME; `x`", ""]
    assert (env["A"], env["SWEEP_SEED"], cwd) == ("1 2", "7", str(folder))
    assert json.loads(Path(env["SWEEP_CONFIG"]).read_text()) == CONFIG
    assert not {"SWEEP_RUN_ID", "SWEEP_SOCKET"} & set(env)


def test_the_line_uses_the_runs_own_config_file_while_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    kept = recipe(tmp_path, "--config", str(file), config_file=str(file))
    assert "mkdir" not in command_line(kept)
    assert json.loads(shell(command_line(kept)).stdout)[0] == ["--config", str(file)]
    file.write_text('{"lr": 0.2}')
    argv, env, _ = json.loads(shell(command_line(kept)).stdout)
    assert argv[1] == env["SWEEP_CONFIG"] != str(file)
    assert json.loads(Path(argv[1]).read_text()) == CONFIG


def test_a_secret_is_not_printed_but_taken_from_its_variable(tmp_path: Path) -> None:
    asked = recipe(
        tmp_path, "--key=${envvar:KEY}", "--as-it-is=${envvar:OTHER}",
        env={"TOKEN": "a-${envvar:KEY}-b"}, variables=frozenset({"KEY"}),
    )  # fmt: skip
    line = command_line(asked)
    argv, env, _ = json.loads(shell(line, KEY="s3 cret").stdout)
    assert argv == ["--key=s3 cret", "--as-it-is=${envvar:OTHER}"]
    assert env["TOKEN"] == "a-s3 cret-b"
    assert "s3" not in line
    failed = shell(line)
    assert failed.returncode != 0 and "KEY" in failed.stderr and failed.stdout == ""


def test_what_is_executed(tmp_path: Path) -> None:
    file = tmp_path / "given.json"
    asked = recipe(
        tmp_path,
        "--config",
        str(file),
        "--key=${envvar:KEY}",
        config_file=str(file),
        variables=frozenset({"KEY"}),
    )
    environ = {"PATH": "/bin", "KEY": "k", "SWEEP_RUN_ID": "other-1", "SWEEP_LEASE_S": "3", "OWN": "x"}
    folder = tmp_path / "local" / "again"
    argv, env = executable(asked, folder, environ, ["--more", "$x"])
    assert argv[3:] == ["--config", str(folder / "given-config.json"), "--key=k", "--more", "$x"]
    assert json.loads((folder / "given-config.json").read_text()) == CONFIG
    assert {name: env[name] for name in env if name.startswith("SWEEP_")} == {
        "SWEEP_SEED": "7", "SWEEP_CONFIG": str(folder / "given-config.json"), "SWEEP_LOCAL_DIR": str(folder),
    }  # fmt: skip
    assert env["OWN"] == "x" and env["A"] == "1 2"
    assert env["PATH"] == f"/bin{os.pathsep}{Path(sys.executable).parent}"


def test_what_cannot_be_executed(tmp_path: Path) -> None:
    with pytest.raises(CannotRepeat, match="KEY, which is not set here"):
        executable(recipe(tmp_path, env={"T": "${envvar:KEY}"}), tmp_path / "a", {}, [])
    with pytest.raises(CannotRepeat, match=r"is not here: .*/missing"):
        executable(recipe(tmp_path / "missing"), tmp_path / "a", {}, [])
    assert not (tmp_path / "a").exists()


def views(store: Store, **more: Any) -> Views:
    return load_views(store, keep(store, [{"lr": 0.1}], [curve(0.5)], **more))


def test_a_recipe_leaves_out_what_ties_a_run_to_its_agent(store: Store) -> None:
    env = {
        "SWEEP_ID": "s", "SWEEP_RUN_ID": "s-0", "SWEEP_SOCKET": "/s", "SWEEP_AGENT": "a", "SWEEP_CHECKPOINT_DIR": "/c",
        "SWEEP_RUN_DIR": "/r", "SWEEP_CONFIG": "/r/config.json", "SWEEP_SEED": "40", "PYTHONHASHSEED": "40",
        "CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }  # fmt: skip
    found = views(store, env=env, host=socket.gethostname(), record={"workdir": "/w"})
    known = recipe_of(found, found.runs[0])
    assert known.env == {
        "PYTHONHASHSEED": "40",
        "CUDA_VISIBLE_DEVICES": "3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    assert (known.workdir, known.seed, known.config_file) == ("/w", 40, "/r/config.json")
    assert known.argv == ("python", "train.py")
    elsewhere = views(store, env=env, host="another", sweep="other234")
    assert recipe_of(elsewhere, elsewhere.runs[0]).env == {"PYTHONHASHSEED": "40"}, (
        "no pins to another machine's GPUs"
    )
    no_gpu = views(store, env={**env, "CUDA_VISIBLE_DEVICES": ""}, host="another", sweep="nogpu234")
    assert recipe_of(no_gpu, no_gpu.runs[0]).env["CUDA_VISIBLE_DEVICES"] == "", "it saw none: so it shall be"


def test_a_run_that_never_started_is_put_together_from_the_spec(store: Store, tmp_path: Path) -> None:
    spec = spec_of(
        command=("${interpreter}", "${program}", "${args}", "${args_json_file}", "--key=${envvar:KEY}"),
        env={"B": "2"},
    )
    found = views(store, spec=spec)
    run = found.runs[0]
    run.attempts.clear()
    known = recipe_of(found, run)
    assert known.env == {"PYTHONHASHSEED": "40", "PYTHONUNBUFFERED": "1", "B": "2"}
    assert (
        known.argv[:3] == (sys.executable, "train.py", "--lr=0.1") and known.argv[4] == "--key=${envvar:KEY}"
    )
    argv, _ = executable(known, tmp_path / "x", {"KEY": "k"}, [])
    assert argv[3:] == [str(tmp_path / "x" / "given-config.json"), "--key=k"]


def test_whether_the_code_has_changed(store: Store, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    for name in ("train.py", "model.py", "old.py"):
        (code / name).write_text(name)
    record = {**record_sweep(code, None, store.put_blob, {}, []), "workdir": str(code)}
    same = code_change(store, record, {})
    assert not same and same.recorded
    (code / "train.py").write_text("changed")
    (code / "new.py").write_text("")
    (code / "old.py").unlink()
    change = code_change(store, record, {})
    assert change
    assert (change.changed, change.added, change.removed) == (("train.py",), ("new.py",), ("old.py",))
    assert not code_change(store, {}, {}).recorded
