"""What makes a run repeat and can only be set inside its process: seeds of the libraries that it imports, and their switches.

The rules of this file:
- Nothing is imported for it: a library that the program has imported is seeded when the run begins, one that it imports later right after that
  import. A program that seeds by itself afterwards has the last word.
- What is recorded is what the libraries say when they are asked, not what was asked of them.
- Trouble with a library is recorded and never raised.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def apply(seed: int, level: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """Seed what is imported, and have the rest seeded when it is. `tell` gets the state of everything, again after each import."""
    state: dict[str, Any] = {
        "level": level,
        "hash_seed": os.environ.get("PYTHONHASHSEED") if sys.flags.hash_randomization else "0",
        "threads": {name: os.environ[name] for name in _THREADS if name in os.environ},
    }

    def settle(name: str, module: ModuleType) -> None:
        try:
            state[name] = _LIBRARIES[name](module, seed, level == "strict")
        except Exception as error:
            state[name] = {"problem": f"{type(error).__name__}: {error}"[:200]}

    later = set()
    for name in _LIBRARIES:
        module = sys.modules.get(name)
        if module is None:
            later.add(name)
        else:
            settle(name, module)
    tell(state)

    def imported(name: str, module: ModuleType) -> None:
        settle(name, module)
        tell(state)

    _Finder.install(later, imported)


class _Finder:
    """Calls back after the first import of some modules."""

    current: _Finder | None = None

    def __init__(self, names: set[str], then: Callable[[str, ModuleType], None]) -> None:
        self.names, self.then = names, then

    @classmethod
    def install(cls, names: set[str], then: Callable[[str, ModuleType], None]) -> None:
        if cls.current is not None:
            cls.current.names, cls.current.then = names, then
            return
        cls.current = cls(names, then)
        sys.meta_path.insert(0, cls.current)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The others' answer, its module watched. See `importlib.abc.MetaPathFinder`."""
        if name not in self.names:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                self._watch(name, spec.loader)
                return spec
        return None

    def _watch(self, name: str, loader: Any) -> None:
        original = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            original(module)
            if name in self.names:  # not when it was only looked for, as by `importlib.util.find_spec`
                self.names.discard(name)
                self.then(name, module)

        try:
            loader.exec_module = exec_module
        except (
            AttributeError
        ):  # a loader without a dictionary: its library stays as it is, and unnamed in the record
            pass


# --- the libraries


def _random(module: Any, seed: int, _: bool) -> dict[str, Any]:
    module.seed(seed)
    return {"seeded": module.getstate() == module.Random(seed).getstate()}


def _numpy(module: Any, seed: int, _: bool) -> dict[str, Any]:
    module.random.seed(seed)
    ours, theirs = module.random.get_state(), module.random.RandomState(seed).get_state()
    return {"version": str(module.__version__), "seeded": bool((ours[1] == theirs[1]).all())}


def _torch(module: Any, seed: int, strict: bool) -> dict[str, Any]:
    module.manual_seed(seed)
    if strict:
        module.use_deterministic_algorithms(True)
        module.backends.cudnn.deterministic = True
        module.backends.cudnn.benchmark = False
    return {
        "version": str(module.__version__),
        "seeded": module.initial_seed() == seed,
        "deterministic_algorithms": module.are_deterministic_algorithms_enabled(),
        "cudnn.deterministic": module.backends.cudnn.deterministic,
        "cudnn.benchmark": module.backends.cudnn.benchmark,
        "threads": module.get_num_threads(),
        "cuda": module.version.cuda,
        **({} if module.version.cuda is None else _cuda_libraries(module)),
    }


def _cuda_libraries(module: Any) -> dict[str, Any]:
    """Versions of what it was built with or has loaded; nothing is started on a GPU for it."""
    found: dict[str, Any] = {}
    for name, ask in (("cudnn", module.backends.cudnn.version), ("nccl", module.cuda.nccl.version)):
        try:
            version = ask()
        except Exception as error:
            version = f"not measured: {type(error).__name__}"
        found[name] = ".".join(map(str, version)) if isinstance(version, tuple) else version
    return found


def _tensorflow(module: Any, seed: int, strict: bool) -> dict[str, Any]:
    module.random.set_seed(seed)
    if strict:
        module.config.experimental.enable_op_determinism()
    # Neither can be asked for under a public name; None where this version does not know ours.
    inside, config = sys.modules.get("tensorflow.python.eager.context"), "tensorflow.python.framework.config"
    asked = getattr(inside, "global_seed", None)
    enabled = getattr(sys.modules.get(config), "is_op_determinism_enabled", None)
    return {
        "version": str(module.__version__),
        "seeded": None if asked is None else asked() == seed,
        "op_determinism": None if enabled is None else bool(enabled()),
    }


def _keras(module: Any, seed: int, _: bool) -> dict[str, Any]:
    module.utils.set_random_seed(seed)
    asked = getattr(sys.modules.get("keras.src.utils.rng_utils"), "get_random_seed", None)
    return {"version": str(module.__version__), "seeded": None if asked is None else asked() == seed}


_LIBRARIES: dict[str, Callable[[Any, int, bool], dict[str, Any]]] = {
    "random": _random,
    "numpy": _numpy,
    "torch": _torch,
    "tensorflow": _tensorflow,
    "keras": _keras,
}
