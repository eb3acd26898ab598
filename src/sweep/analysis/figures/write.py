"""Files: which ones there are, and that each is either the old or the new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from sweep.analysis import text
from sweep.analysis.importance import Importance
from sweep.analysis.importance import importance as compute_importance
from sweep.analysis.table import SweepTable

Format = Literal["html", "png"]
FORMATS: tuple[str, ...] = get_args(Format)


def write_plots(
    table: SweepTable,
    out: Path,
    formats: Iterable[Format],
    importance: Importance | None = None,
    expected: bool = False,
) -> list[Path]:
    """Write the page (`index.html`) and the pictures (`importance.png`, `best-so-far.png`, `learning-curves.png`,
    `parallel-coordinates.png`, `slices.png`; `confirmed.png` where configs ran on fresh seeds; with `expected`
    `expected-best.png`; `usage.png` where something was sampled) into folder `out`, which is made. Returns the paths, the page first.

    `importance`: where it was computed already. Raises ValueError for an unknown format and OSError where the folder
    cannot be written.
    """
    wanted = set(formats)
    unknown = sorted(wanted.difference(FORMATS))
    if unknown:
        raise ValueError(f"unknown format {unknown[0]!r}: choose from {', '.join(FORMATS)}")
    from sweep.analysis.figures.prepare import prepare

    pictures = prepare(table, importance if importance is not None else compute_importance(table), expected)
    files: dict[str, bytes] = {}
    if "html" in wanted:
        from sweep.analysis.figures import page

        files["index.html"] = page.render(table, pictures).encode("utf-8", "replace")
    if "png" in wanted:
        from sweep.analysis.figures import png

        name = table.spec.name or table.sweep.name
        files |= png.render(
            pictures, " · ".join(filter(None, [text.shorten(name or "", 28), table.sweep.sweep]))
        )
    out.mkdir(parents=True, exist_ok=True)
    return [write_file(out / file_name, data) for file_name, data in files.items()]


def write_file(path: Path, data: bytes) -> Path:
    """Atomically: into a temporary file beside it, then renamed."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # noqa: PTH101 - mkstemp makes a file that only its owner can read
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
    return path
