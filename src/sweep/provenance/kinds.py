"""What a file of a code folder is, as far as its name says: code, or something that programs leave there.

The rules of this file: only names and modes are looked at; a file that was recorded as code counts, unless its name says that it is
output; a file that has come since counts only where its name says that it is code. So a log, a table of results or a model that a run
writes beside its code is no change of the code, and a new module or settings file is one.
"""

from __future__ import annotations

from sweep.provenance.tree import EXECUTABLE

_CODE = frozenset(
    """.py .pyi .pyx .pxd .ipynb .sh .bash .zsh .fish .r .jl .lua .pl .rb .m .js .mjs .ts .java .kt .scala .go .rs .swift .zig
    .c .cc .cpp .cxx .h .hh .hpp .cu .cuh .cl .metal .f .f90 .for .s .asm .so .dylib .pyd .whl .jar .wasm .proto .cmake .mk
    .yaml .yml .toml .ini .cfg .conf .properties .gin .jsonnet .libsonnet .hcl .j2 .jinja .tmpl .lock .sql""".split()
)
"""Sources, libraries and settings. Not `.pth`: it is a list of import paths only where packages are installed, and else a model."""
_NAMES = frozenset(("makefile", "dockerfile", "requirements.txt", "pipfile", "snakefile", "justfile"))
_OUTPUT = frozenset(
    """.log .out .err .pid .tmp .swp .swo .bak .orig .pyc .pyo .prof .trace .core .ckpt .safetensors .png .jpg .jpeg .gif .svg .pdf .eps
    .mp4 .webm""".split()
)
_OUTPUT_NAMES = ("events.out.tfevents.", "nohup.out", ".ds_store", "core.")


def may_be_code(path: str, mode: str = "") -> bool:
    """Whether a file that was not there when the code was recorded counts as new code. `mode` as in `TreeFile`, where it is known."""
    name = path.rpartition("/")[2].lower()
    return _ending(name) in _CODE or name in _NAMES or (mode == EXECUTABLE and not is_output(path))


def is_output(path: str) -> bool:
    """Whether a file counts as no code, although it was there when the code was recorded."""
    name = path.rpartition("/")[2].lower()
    return _ending(name) in _OUTPUT or name.startswith(_OUTPUT_NAMES) or name.endswith("~")


def _ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return dot + ending if stem else ""
