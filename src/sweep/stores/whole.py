"""Whole outputs of runs, in a folder that nodes share or behind a URL that fsspec understands.

The rules of this file: fsspec is imported here only, and only for a URL; a file under its name in a folder is whole, because it was
written beside and renamed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from sweep.core.errors import SweepError

PART_BYTES = 1 << 20


class WholeError(SweepError):
    """A whole output cannot be written or read; the message says why."""


def write_whole(address: str, source: Path) -> None:
    """Put the file `source` there. Takes as long as it takes. Raises WholeError."""
    try:
        with source.open("rb") as file:
            if "://" in address:
                with _opened(address, "wb") as target:
                    shutil.copyfileobj(file, target, PART_BYTES)
            else:
                _write_file(Path(address), file)
    except WholeError:
        raise
    except Exception as error:  # whatever the library of a file system raises
        raise WholeError(f"cannot write {address}: {_why(error)}") from error


def read_whole(address: str) -> Iterator[bytes]:
    """What is there, in parts. Raises WholeError."""
    try:
        with _opened(address, "rb") if "://" in address else Path(address).open("rb") as file:
            while data := file.read(PART_BYTES):
                yield data
    except WholeError:
        raise
    except Exception as error:
        raise WholeError(f"cannot read {address}: {_why(error)}") from error


def _write_file(path: Path, source: BinaryIO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with making.open("wb") as target:
            shutil.copyfileobj(source, target, PART_BYTES)
        making.rename(path)
    finally:
        with contextlib.suppress(OSError):
            making.unlink()


def _opened(address: str, mode: str) -> contextlib.AbstractContextManager[BinaryIO]:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        if error.name != "fsspec":
            raise
        raise WholeError(
            f"{address} needs the package `fsspec` (and that of its file system): pip install 'sweep[fsspec]'"
        ) from None
    options: dict[str, Any] = {"auto_mkdir": True} if address.startswith(("file://", "local://")) else {}
    return cast(contextlib.AbstractContextManager[BinaryIO], fsspec.open(address, mode, **options))


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
