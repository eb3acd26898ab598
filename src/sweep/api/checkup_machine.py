"""The checks of `sweep doctor` that look at this machine and this installation. The rule of this file: see `checkup`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from sweep.api.checkup import Check, Finding, Place

OLDEST_PYTHON = (3, 11)
FEW_FILES = 256
PATIENCE_S = 20.0
_RELEASED_S = 1_735_689_600.0
"""The start of 2025: a clock that shows an earlier time is wrong."""


def python(_: Place) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version} ({sys.executable})"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Finding("python", "broken", found, "sweep needs Python 3.11 or newer for its commands")
    return Finding("python", "ok", found)


def packages(_: Place) -> Finding:
    """What sweep's own metadata asks for, against what is installed."""
    from importlib import metadata

    from sweep import __version__

    try:
        asked = metadata.requires("sweep") or []
    except metadata.PackageNotFoundError:
        return Finding(
            "packages", "warning", f"sweep {__version__} is imported from {Path(__file__).parents[1]}, but not installed",
            "pip install it, so that its packages come with it",
        )  # fmt: skip
    missing, old, needed, fine = [], [], [], 0
    for text in asked:
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?[^;]*(;.*extra.*)?", text)
        if match is None or match[3]:
            continue
        try:
            version = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            missing.append(match[1])
            needed.append(_requirement(text))
            continue
        too_old = match[2] and _numbers(version) < _numbers(match[2])
        old += [f"{match[1]} {version} (needs {match[2]})"] if too_old else []
        needed += [_requirement(text)] if too_old else []
        fine += not too_old
    if missing or old:
        words = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"too old: {', '.join(old)}"] * bool(
            old
        )
        return Finding(
            "packages", "broken", "; ".join(words), f"{sys.executable} -m pip install {' '.join(needed)}"
        )
    return Finding("packages", "ok", f"sweep {__version__} and the {fine} packages it needs")


def _requirement(text: str) -> str:
    """A requirement of sweep's metadata as a word of a shell's command."""
    return shlex.quote(text.partition(";")[0].replace(" ", ""))


def extras(_: Place) -> Finding:
    from importlib import metadata

    words = []
    for package, use in (
        ("pandas", "sweep.load(...).runs"),
        ("pyarrow", "--format parquet"),
        ("redis", "a store on many machines"),
        ("torch", ""),
    ):
        try:
            words.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            words += [f"no {package} ({use})"] if use else []
    return Finding("extras", "note", ", ".join(words))


def machine(_: Place) -> Finding:
    from sweep.agents.gpus import cpu_count
    from sweep.provenance.hardware import hardware_record

    record = hardware_record()
    cpu = record.get("cpu") or {}
    memory = record.get("memory_limit_bytes") or record.get("memory_bytes")
    size = f", {memory / 2**30:.1f} GiB of memory" if memory else ""
    where = f", in a container ({record['container']})" if record.get("container") else ""
    cores = f"{cpu_count():g} CPUs ({cpu.get('model') or 'unknown'})"
    return Finding("machine", "ok", f"{record.get('os')}, {record.get('kernel')}, {cores}{size}{where}")


def gpus(place: Place) -> Finding:
    from sweep.agents.gpus import discover
    from sweep.provenance.hardware import hardware_record

    record = hardware_record()
    visible = place.environ.get("CUDA_VISIBLE_DEVICES")
    limit = "" if visible is None else f"; CUDA_VISIBLE_DEVICES={visible!r}"
    if trouble := record["not_measured"].get("gpus"):
        advice = "see whether `nvidia-smi` works; after an update of the driver the machine must be restarted"
        return Finding("gpus", "broken", f"the driver does not answer: {trouble}{limit}", advice)
    found = record.get("gpus") or []
    if not found:
        return _no_gpu(limit)
    names = ", ".join(f"{gpu['name']} ({gpu['memory_bytes'] / 2**30:.0f} GiB)" for gpu in found)
    driver = f"driver {record.get('gpu_driver')}, CUDA up to {record.get('cuda_version')}"
    usable = len(discover(place.environ))
    if usable == 0:
        advice = "unset CUDA_VISIBLE_DEVICES, unless runs are to use CPUs only"
        return Finding("gpus", "warning", f"{names}; {driver}; none of them may be used{limit}", advice)
    return Finding("gpus", "ok", f"{names}; {driver}; agents use {usable}{limit}")


def _no_gpu(limit: str) -> Finding:
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    if devices:
        return Finding(
            "gpus", "warning", f"there is {', '.join(devices)}, but no NVIDIA driver library{limit}",
            "install the driver's libraries (in a container: start it with the NVIDIA runtime)",
        )  # fmt: skip
    return Finding("gpus", "note", f"none with an NVIDIA driver: runs use CPUs{limit}")


def clock(_: Place) -> Finding:
    now = time.time()
    text = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now))
    if now < _RELEASED_S:
        return Finding(
            "clock", "warning", f"it shows {text}", "set the clock: times in records will be wrong"
        )
    return Finding("clock", "ok", text)


def open_files(_: Place) -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        allowed = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        advice = f"ulimit -n 1024 before you start an agent (this account may go up to {allowed}): each run takes a few"
        return Finding("open files", "warning", f"at most {shown} (ulimit -n)", advice)
    return Finding("open files", "ok", f"at most {shown} (ulimit -n)")


def text(place: Place) -> Finding:
    import locale

    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    named = next(
        (place.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if place.environ.get(name)), "not set"
    )
    found = f"locale {named}, output in {encoding}, files in {locale.getpreferredencoding(False)}"
    if encoding.lower().replace("-", "") != "utf8":
        return Finding(
            "text", "warning", found, "export LC_ALL=C.UTF-8, else what is not ASCII is printed as escapes"
        )
    return Finding("text", "ok", found)


def home(place: Place) -> Finding:
    named = place.environ.get("HOME")
    if not named:
        return Finding("home", "note", "HOME is not set; sweep does not need it, but training programs may")
    if not os.access(named, os.W_OK):
        return Finding(
            "home", "note", f"{named} is missing or not writable; sweep does not need it, but programs may"
        )
    return Finding("home", "ok", named)


def socket_folder(place: Place) -> Finding:
    """Makes and removes the socket that an agent would make."""
    import socket

    from sweep.agents.sockets import MAX_PATH_BYTES, socket_path

    path = socket_path(place.environ)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
    finally:
        Path(path).unlink(missing_ok=True)
        if Path(path).parent.name.startswith("sweep-") and not Path(path).parent.name.endswith(
            f"-{os.getuid()}"
        ):
            Path(path).parent.rmdir()
    length = len(os.fsencode(path))
    found = f"{Path(path).parent} ({length} of at most {MAX_PATH_BYTES} bytes)"
    if length > MAX_PATH_BYTES:
        return Finding("socket folder", "broken", found, "set XDG_RUNTIME_DIR to a folder with a short name")
    return Finding("socket folder", "ok", found)


def temporary_files(_: Place) -> Finding:
    import tempfile

    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x")
    except OSError as error:
        return Finding(
            "temporary files", "broken", f"none can be written: {error}", "free some space, or set TMPDIR to a folder on a local disk"
        )  # fmt: skip
    return Finding("temporary files", "ok", tempfile.gettempdir())


def processes(_: Place) -> Finding:
    """What the guard needs to end every descendant of a run."""
    from sweep.agents.trees import become_subreaper

    lacks = [] if Path("/proc/self/stat").exists() else ["/proc"]
    lacks += [] if become_subreaper() else ["PR_SET_CHILD_SUBREAPER"]
    if lacks:
        advice = (
            "runs are ended by their process group here; children that leave it must be ended by the program"
        )
        return Finding(
            "processes",
            "note" if sys.platform == "darwin" else "warning",
            f"no {' and no '.join(lacks)}",
            advice,
        )
    return Finding(
        "processes", "ok", "/proc and child subreaper: every descendant of a run is found and ended"
    )


def git(place: Place) -> Finding:
    path = shutil.which("git", path=place.environ.get("PATH"))
    if path is None:
        advice = "install git: without it commits are not recorded, and all files below the sweep's folder count as code"
        return Finding("git", "warning", "not in PATH", advice)
    done = _output([path, "--version"], place)
    tree = _output([path, "rev-parse", "--show-toplevel"], place) if place.cwd else None
    where = (
        f"work tree {tree}" if tree else "this folder is in no work tree: every file below it counts as code"
    )
    if done is None:
        return Finding("git", "warning", f"{path} does not work", "see what `git --version` says")
    return Finding("git", "ok", f"{done.removeprefix('git version ')} ({path}); {where}")


def sdk(place: Place) -> list[Finding]:
    """Whether training programs can `import sweep`: in the Python of the agent, and in the one that `python` names. A Python
    without sweep is fine: agents lend its SDK to the programs that they run there."""
    if shadow := _shadow(place):  # and not imported to see: it may be somebody's training script
        advice = f"rename {shadow}: programs in this folder import it instead of the package"
        return [Finding("import sweep", "warning", f"a {shadow.name} of your own is in this folder", advice)]
    found = [_imports_here(place)]
    other = shutil.which("python", path=place.environ.get("PATH"))
    if other is None:
        advice = 'none is needed while the spec\'s command uses "${interpreter}", as the default does'
        return [*found, Finding("import sweep (python)", "note", "there is no `python` in PATH", advice)]
    return [*found, _imports_there(other, place)]


def _imports_here(place: Place) -> Finding:
    name = "import sweep (agent)"
    works, said = _try_import(sys.executable, place)
    if works:
        return Finding(name, "ok", said)
    advice = (
        f"install sweep again: `{sys.executable} -m pip install --force-reinstall .` in its source folder"
    )
    return Finding(name, "broken", said, advice)


def _imports_there(interpreter: str, place: Place) -> Finding:
    name = "import sweep (python)"
    works, said = _try_import(interpreter, place)
    if works:
        return Finding(name, "ok", said)
    if "No module named" in said and "sweep" in said:
        return Finding(
            name, "note", f"{interpreter} has no sweep of its own; programs that it runs get the agent's"
        )
    if "has no attribute" in said:
        advice = f"{interpreter} -m pip uninstall sweep: it is another package of that name, and hides the SDK that agents lend"
        return Finding(name, "warning", said, advice)
    return Finding(name, "warning", said, "let the spec's command name a Python that works, 3.8 or newer")


def _try_import(interpreter: str, place: Place) -> tuple[bool, str]:
    """Whether `import sweep` gives this package, and what there is to say about it."""
    code = (
        "import sys\nif sys.version_info < (3, 8): sys.exit('Python %d.%d is too old' % sys.version_info[:2])\n"
        "import sweep; sweep.init; print(sweep.__version__, sweep.__file__)"
    )
    said = _output([interpreter, "-c", code], place, errors=True) or "nothing"
    version, _, file = said.partition(" ")
    if re.fullmatch(r"\d+\.\d+\.\d+\S*", version):
        return True, f"{version} in {interpreter} ({Path(file).parent})"
    return False, f"{interpreter}: {said.splitlines()[-1][:200]}"


def _shadow(place: Place) -> Path | None:
    """A `sweep.py` or folder `sweep` of the user's own that programs here find first."""
    if place.cwd is None:
        return None
    candidates = (place.cwd / "sweep.py", place.cwd / "sweep" / "__init__.py")
    return next((path for path in candidates if path.is_file() and not _is_ours(path)), None)


def _is_ours(path: Path) -> bool:
    """Whether this is the package itself: somebody works in its source folder."""
    import sweep

    return path.resolve() == Path(sweep.__file__ or "").resolve()


def variables(place: Place) -> Finding:
    from sweep.agents.options import SECONDS, seconds
    from sweep.core.errors import SweepError
    from sweep.provenance.urls import strip_user_info

    named = {name: value for name, value in place.environ.items() if name.startswith("SWEEP_")}
    if "SWEEP_RUN_ID" in named:
        return Finding("variables", "note", f"this shell is inside run {named['SWEEP_RUN_ID']}")
    try:
        for name in SECONDS:
            seconds(named, name)
    except SweepError as error:
        return Finding("variables", "broken", str(error), "unset it, or give such a number")
    words = [f"{name}={strip_user_info(value)}" for name, value in sorted(named.items())]
    return Finding("variables", "ok", ", ".join(words) or "no SWEEP_ variable is set")


def _output(argv: list[str], place: Place, errors: bool = False) -> str | None:
    """What a program prints, None when it fails; with `errors` then what it says about it."""
    try:
        done = subprocess.run(
            argv, cwd=place.cwd, env=dict(place.environ), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE_S:.0f} s" if errors else None
    except OSError as error:
        return str(error) if errors else None
    if done.returncode:
        return (done.stderr.strip() or f"exit code {done.returncode}") if errors else None
    return done.stdout.strip()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


CHECKS: tuple[Check, ...] = (
    python,
    packages,
    extras,
    sdk,
    machine,
    gpus,
    processes,
    open_files,
    socket_folder,
    temporary_files,
    home,
    text,
    clock,
    git,
    variables,
)
