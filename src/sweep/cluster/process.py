"""The agent process of a slot: started by an actor, with the GPUs that Ray gave it, and gone when the actor is.

The agent's standard input is a pipe that only the actor holds: when the actor dies, however it does, the pipe closes and the agent
ends its runs and leaves. Ray gives the actor's GPUs away at that very moment, so whoever gets them next waits here until they
are free.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from sweep.agents import trees
from sweep.api.places import AGENTS, folder_of
from sweep.cluster.order import Order, SlotEnd

MARK = "SWEEP_LAUNCHED"
"""In the environment of agents that a launch has started."""
_RAYS_OWN = ("SPT_NOENV",)
_ENOUGH_S = 15.0
"""How much longer than `limits.kill_after` the wait for an occupied GPU may take."""
_SAID_BYTES = 2000


def agent_environ(environ: Mapping[str, str], pinned: Mapping[str, str], order: Order) -> dict[str, str]:
    """The environment of an agent: `environ` as the node has it, without what is Ray's, with the GPUs of `pinned`."""
    env = {name: value for name, value in environ.items() if not name.startswith(("RAY_", "SWEEP_"))}
    for name in _RAYS_OWN:
        env.pop(name, None)
    if env.get("PYTHONBREAKPOINT", "").startswith("ray."):
        del env["PYTHONBREAKPOINT"]
    if (devices := pinned.get("CUDA_VISIBLE_DEVICES")) is not None:
        env["CUDA_VISIBLE_DEVICES"] = devices
    return {**env, **order.environ, MARK: "1"}


def environ_at_start() -> dict[str, str]:
    """This process's environment as it was started with: Ray adds OMP_NUM_THREADS and others to `os.environ` later. Where the
    system does not tell, `os.environ` without those."""
    entries = trees.environment_of(os.getpid())
    found = {
        os.fsdecode(name): os.fsdecode(value)
        for name, _, value in (entry.partition(b"=") for entry in entries)
        if name
    }
    if "PATH" in found:
        return found
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def occupants(devices: str) -> list[int]:
    """Processes of agents that were launched, and of runs, on this machine that have one of these GPUs (as
    CUDA_VISIBLE_DEVICES names them). Empty where there is no /proc."""
    wanted = {device.strip().encode() for device in devices.split(",") if device.strip()}
    found = []
    for pid in trees.processes():
        environ = dict(entry.partition(b"=")[::2] for entry in trees.environment_of(pid))
        if b"SWEEP_RUN_ID" not in environ and MARK.encode() not in environ:
            continue
        if wanted & {device.strip() for device in environ.get(b"CUDA_VISIBLE_DEVICES", b"").split(b",")}:
            found.append(pid)
    return [pid for pid in found if pid != os.getpid()]


class AgentProcess:
    """One agent with one slot. A thread of its own starts it and waits for its end."""

    def __init__(self, order: Order, *, gpus: float, cpus: float, devices: str | None, alone: bool) -> None:
        """`gpus`, `cpus`: what the slot has; `devices`: its GPUs as CUDA names them; `alone`: nobody else may be on them."""
        self.order, self._gpus, self._cpus, self._devices = order, gpus, cpus, devices
        self._alone = alone
        self.state, self.agent, self.pid = "starting", "", 0
        self.problem = ""
        self._told = False
        self._end: SlotEnd | None = None
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._work, name="agent", daemon=True).start()

    def wait(self) -> SlotEnd:
        """How it ended, once it has."""
        self._ended.wait()
        assert self._end is not None
        return self._end

    def leave(self, *, now: bool) -> None:
        """Let the run finish and leave, or with `now` end it. Telling it again is telling it once."""
        with self._lock:
            again, self._told = self._told, True
            process = self._process
            if process is not None and process.poll() is None and (now or not again):
                self.state = "leaving"
                process.send_signal(signal.SIGTERM if now else signal.SIGINT)

    # --- inside

    def _work(self) -> None:
        try:
            self._wait_for_gpus()
            self._end = self._run()
        except Exception as error:  # whatever it is, somebody waits for the end
            self._end = SlotEnd(
                code=1, joined=False, told=self._told, words=f"{type(error).__name__}: {error}"
            )
        self.state = "ended"
        self._ended.set()

    def _wait_for_gpus(self) -> None:
        if not self._alone or not self._devices:
            return
        until_s = time.monotonic() + self.order.kill_after_s + _ENOUGH_S
        while (pids := occupants(self._devices)) and not self._told:
            if time.monotonic() >= until_s:
                raise RuntimeError(
                    f"GPU {self._devices} of {socket.gethostname()} is still used by process {pids[0]}, which an agent or a run "
                    "of sweep has left or another agent has started"
                )
            self.problem = f"waits until process {pids[0]} has left GPU {self._devices}"
            time.sleep(0.05)
        self.problem = ""

    def _run(self) -> SlotEnd:
        cwd = next(
            (path for path in (self.order.cwd, self.order.workdir) if Path(path).is_dir()), str(Path.home())
        )
        folder = folder_of(self.order.store_url, Path(cwd)) / AGENTS
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = folder / f"starting-{secrets.token_hex(4)}.log"
        reader, writer = os.pipe()
        with self._lock:
            if self._told:
                os.close(reader)
                os.close(writer)
                return SlotEnd(code=0, joined=False, told=True)
            try:
                process = self._process = self._start(cwd, log, writer)
            except BaseException:
                os.close(reader)
                raise
            finally:
                os.close(writer)
        self.pid = process.pid
        with os.fdopen(reader) as pipe:
            self.agent = pipe.readline().strip()
        if self.agent:
            self.state, log = "leaving" if self._told else "working", folder / f"{self.agent}.log"
        code = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        said = _last_words(log)
        if not self.agent:
            log.unlink(missing_ok=True)
        return SlotEnd(code=code, joined=bool(self.agent), told=self._told, words=said)

    def _start(self, cwd: str, log: Path, writer: int) -> subprocess.Popen[bytes]:
        env = agent_environ(
            environ_at_start(),
            {} if self._devices is None else {"CUDA_VISIBLE_DEVICES": self._devices},
            self.order,
        )
        command = [
            sys.executable,
            "-P",
            "-m",
            "sweep",
            "agent",
            self.order.sweep,
            "--slots",
            "1",
            "--cpus",
            str(self._cpus),
        ]
        command += [*(() if self._gpus else ("--gpus", "none")), *self.order.options]
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as output:
            return subprocess.Popen(
                [*command, "--leave-with-stdin", "--announce-to", str(writer), "--log-file", str(log)],
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(writer,),
                start_new_session=True,
            )


def _last_words(log: Path) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _SAID_BYTES))
        return file.read().decode("utf-8", "replace").strip()
    return ""
