"""What an interpreter and its packages are, as raw facts. Standard library only, Python 3.8 or newer: this file's text is
also run, as it is, by the interpreter of the training script, which need not have sweep installed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys


def facts() -> dict[str, object]:
    """`python`: the interpreter; `packages`: (metadata, direct_url.json) of each distribution, in the order of sys.path."""
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "build": " ".join(platform.python_build()),
            "compiler": platform.python_compiler(),
            "executable": sys.executable or "",
            "prefix": sys.prefix,
            "base_prefix": sys.base_prefix,
            "venv": sys.prefix != sys.base_prefix,
            "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),  # noqa: PTH112, PTH118
            "gil": bool(getattr(sys, "_is_gil_enabled", lambda: True)()),
        },
        "packages": [
            [
                _head(one.read_text("METADATA") or one.read_text("PKG-INFO") or ""),
                one.read_text("direct_url.json"),
            ]
            for one in importlib.metadata.distributions()
        ],
    }


def _head(metadata: str) -> str:
    """The fields, without the long description that follows them."""
    return metadata.partition("\n\n")[0]


if __name__ == "__main__":
    # Started with -c: the working folder stands first on sys.path, but is no place of installed packages.
    sys.path[:] = [place for place in sys.path if place]
    sys.stdout.write(json.dumps(facts()))
