"""What a child of the warm process does to become a program, as if its interpreter had been started for it.

Rules of this file: the standard library only, in the syntax of Python 3.8, and nothing imported that a fresh interpreter
would not have, except by need. What Python itself does at its start and its end is done here in the same order; the one
thing left out is the teardown of the modules that were imported in advance, which costs more than most runs' other ends.
"""

# ruff: noqa: UP031, UP035, UP036, PTH109, PTH118, PTH123, PTH208

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import traceback
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Begin = Callable[[list[bytes], dict[bytes, bytes], bytes, int], None]

_pools: Any = None
"""threadpoolctl's controller of the libraries with threads of their own, where there is one."""


def settle() -> None:
    """The last thing before the first fork: what is there is shared by all children, and is never looked at again."""
    global _pools
    if "numpy" in sys.modules:
        __import__("numpy.random")  # numpy brings it in late, and then it would not be seeded
        try:
            _pools = __import__("threadpoolctl").ThreadpoolController()
        except (ImportError, AttributeError):
            pass
    gc.collect()
    gc.freeze()


_HUGE = 1 << 21
_MADV_COLLAPSE = 25


def make_forks_cheap() -> None:
    """What a fork costs is mostly the number of pages that this process has written: give back those that are free, and have
    the kernel (Linux 6.1 or later; others refuse, which is no harm) put the others together into large ones."""
    try:
        import ctypes

        library = ctypes.CDLL(None)
        library.malloc_trim(0)
        advise = library.madvise
        advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        with open("/proc/self/maps") as file:
            lines = file.readlines()
    except (ImportError, AttributeError, OSError):
        return
    for line in lines:
        words = line.split()
        if words[1] == "rw-p" and (len(words) == 5 or words[5] == "[heap]"):
            begin, end = (int(part, 16) for part in words[0].split("-"))
            begin, end = -(-begin // _HUGE) * _HUGE, end // _HUGE * _HUGE
            if begin < end:
                advise(begin, end - begin, _MADV_COLLAPSE)


def beginning(begin_at: int, program_at: int, printed: bytes, is_module: bool) -> Begin:
    """What makes a child into a run. `begin_at`, `program_at`: where the interpreter and the script (or the module's
    name) stand in the command line; `printed`: what goes before everything else into its output."""

    def begin(argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, output: int) -> None:
        take_place(env, cwd, output)
        if printed:
            os.write(1, printed)
        use_threads()
        reseed()
        words = [os.fsdecode(word) for word in argv]
        sys.argv = words[program_at:]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv = words[begin_at:]
        main = types.ModuleType("__main__")
        main.__dict__.update(__builtins__=sys.modules["builtins"], __spec__=None)
        if sys.version_info < (3, 14):
            main.__dict__.setdefault("__annotations__", {})
        sys.modules["__main__"] = main
        end(run_module(sys.argv[0]) if is_module else run_script(sys.argv[0], main), main)

    return begin


# --- the process


def take_place(env: dict[bytes, bytes], cwd: bytes, output: int, afresh: bool = False) -> None:
    """Output, folder and environment of the run. `afresh`: every variable is set again, so that the C library has none left
    where the process was given them at its start."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(cwd)
    environ = os.environb
    for name in [name for name in environ if name not in env]:
        del environ[name]
    for name, value in env.items():
        if afresh or environ.get(name) != value:
            environ[name] = value


def use_threads() -> None:
    """Libraries with threads of their own were imported with one; now they get what the run's variables say."""
    wanted = _threads("OMP_NUM_THREADS")
    torch = sys.modules.get("torch")
    if torch is not None and wanted != 1:
        torch.set_num_threads(wanted)
    if _pools is not None:
        blas = _threads("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
        if (wanted, blas) != (1, 1):
            _pools.limit(limits={"openmp": wanted, "blas": blas})


def _threads(*names: str) -> int:
    for name in names:
        text = os.environ.get(name, "").split(",")[0]
        if text.isdigit() and int(text) > 0:
            return int(text)
    return len(os.sched_getaffinity(0))


def reseed() -> None:
    """The global generators of the modules that are there, from the run's seed: else all children would draw the same numbers."""
    text = os.environ.get("SWEEP_SEED", "")
    seed = int(text) if text.isdigit() else int.from_bytes(os.urandom(4), "little")
    random, numpy, torch = (sys.modules.get(name) for name in ("random", "numpy.random", "torch"))
    if random is not None:
        random.seed(seed)
    if numpy is not None:
        numpy.seed(seed % 2**32)
    if torch is not None:
        torch.manual_seed(seed)


# --- the program


def run_script(path: str, main: types.ModuleType) -> int:
    """Run a script as `__main__`; its exit status."""
    from importlib.machinery import SourceFileLoader

    if sys.version_info >= (3, 9):
        path = os.path.join(os.getcwd(), path)
    main.__file__ = path
    main.__loader__ = SourceFileLoader("__main__", path)
    main.__dict__["__cached__"] = None

    def run() -> None:
        with io.open_code(path) as file:
            source = file.read()
        exec(compile(source, path, "exec", 0, True), main.__dict__)

    return status_of(run)


def run_module(name: str) -> int:
    """Run a module as `python -m` does; its exit status."""
    import runpy

    return status_of(lambda: runpy._run_module_as_main(name))  # type: ignore[attr-defined]


def status_of(run: Callable[[], object]) -> int:
    """Call `run`; 0, or what Python makes of the exception that it raised, which is printed."""
    try:
        run()
    except SystemExit as error:
        return _exit_status(error.code)
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        _show(error.with_traceback(trace))
        if isinstance(error, KeyboardInterrupt):
            return -signal.SIGINT
        return 1
    return 0


def _exit_status(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    _flush(sys.stdout)
    try:
        sys.stderr.write("%s\n" % (code,))
    except Exception:
        pass
    return 1


def _show(error: BaseException) -> None:
    _flush(sys.stdout)
    kind, trace = type(error), error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    try:
        sys.excepthook(kind, error, trace)
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exception(kind, error, trace)


# --- the end


def end(status: int, main: types.ModuleType | None = None) -> None:
    """End as Python ends: threads, exit functions, the program's own objects, output. Does not return."""
    threading = sys.modules.get("threading")
    for step in (getattr(threading, "_shutdown", None), atexit._run_exitfuncs):
        try:
            if step is not None:
                step()
        except BaseException:
            traceback.print_exc()
    _let_go(main)
    if not all([_flush(sys.stdout), _flush(sys.stderr)]) and status == 0:
        status = 120
    flush_c()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def _let_go(main: types.ModuleType | None) -> None:
    """Files that the program left open get what was written to them. Then its own names are given up, as at the end of an
    interpreter, so that what it made can end by itself. Objects from before the fork are not seen here."""
    for found in gc.get_objects():
        if isinstance(found, _BUFFERED) and found is not sys.stdout and found is not sys.stderr:
            _flush(found)
    found = None
    if main is not None and len(os.listdir("/proc/self/task")) == 1:
        names = vars(main)
        for name in [name for name in names if not name.startswith("__")]:
            names[name] = None
        gc.collect()


def _flush(stream: Any) -> bool:
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except Exception:
        return False
    return True


def flush_c() -> None:
    """What C code has printed."""
    try:
        import _ctypes

        whole_program: Any = None
        flush = _ctypes.dlsym(_ctypes.dlopen(whole_program, os.RTLD_NOW), "fflush")
        _ctypes.call_function(flush, (None,))
    except (ImportError, AttributeError, OSError):
        pass
