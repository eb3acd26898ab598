"""Pictures from whatever holds them: numpy, torch, jax and nested lists, matplotlib figures, PIL images.

Arrays are asked for what they can do; none of these packages is imported here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class Pixels(NamedTuple):
        """An image of 8 bits a channel, row by row."""

        data: bytes
        width: int
        height: int
        channels: int

else:
    from collections import namedtuple

    Pixels = namedtuple("Pixels", ["data", "width", "height", "channels"])


def is_figure(value: Any) -> bool:
    """Whether matplotlib made it: a figure, axes, an artist, or the module pyplot."""
    named = getattr(value, "__name__", "") if type(value).__name__ == "module" else type(value).__module__
    return str(named).partition(".")[0] == "matplotlib"


def figure_png(value: Any) -> bytes:
    """A matplotlib figure (or pyplot's current one, or the figure of an artist) as PNG."""
    import io

    figure = value.gcf() if hasattr(value, "gcf") else value
    while not hasattr(figure, "savefig"):
        figure = figure.figure if hasattr(figure, "figure") else figure.get_figure()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def on_the_cpu(value: Any) -> Any:
    """A tensor as an array that has `tobytes`, where its package can make one; anything else as it is."""
    for name in ("detach", "cpu", "numpy"):
        method = getattr(value, name, None)
        if method is not None and not hasattr(value, "tobytes"):
            value = method()
    return value


def pixels(value: Any, normalize: bool = True, channels_first: bool = False) -> Pixels:
    """Height × width, or with 1, 2, 3 or 4 channels behind (before them with `channels_first`, as torch has them), as bytes.

    Values as wandb reads them: with negative ones the range is stretched to 0…1; up to 1 they are scaled by 255; then cut
    to 0…255. ValueError for another shape.
    """
    array = on_the_cpu(value)
    rows = array if hasattr(array, "astype") else None
    if rows is None:
        return _of_lists(value.tolist() if hasattr(value, "tolist") else value, normalize, channels_first)
    if rows.ndim > 2:
        rows = rows.squeeze()
    if channels_first and rows.ndim == 3:
        rows = rows.transpose(1, 2, 0)
    height, width, channels = _shape(rows.shape)
    if str(rows.dtype) != "uint8":
        rows = _as_bytes(rows, normalize)
    return Pixels(rows.astype("uint8").tobytes(), width, height, channels)


def _as_bytes(rows: Any, normalize: bool) -> Any:
    if str(rows.dtype) == "bool":
        return rows.astype("uint8") * 255
    if rows.dtype.kind == "f":
        rows = rows.astype("float64")
        rows[(rows != rows) | (abs(rows) > 1e300)] = 0  # what is not finite has no colour: black
    if normalize and rows.size:
        low, high = rows.min(), rows.max()
        if low < 0:
            rows = (rows - low) / ((high - low) or 1)
            high = 1
        if high <= 1:
            rows = rows * 255
    return rows.clip(0, 255)


def _shape(shape: Any) -> tuple[int, int, int]:
    if len(shape) == 2:
        return int(shape[0]), int(shape[1]), 1
    if len(shape) == 3 and shape[2] in (1, 2, 3, 4):
        return int(shape[0]), int(shape[1]), int(shape[2])
    raise ValueError(f"un-supported shape for image conversion {list(shape)}")


def _of_lists(rows: Any, normalize: bool, channels_first: bool) -> Pixels:
    depth, inner = 0, rows
    shape = []
    while isinstance(inner, (list, tuple)):
        shape.append(len(inner))
        inner = inner[0] if inner else None
        depth += 1
    if channels_first and depth == 3:
        rows = [[list(pixel) for pixel in zip(*lines)] for lines in zip(*rows)]
        shape = [shape[1], shape[2], shape[0]]
    height, width, channels = _shape(shape)
    flat = [_number(v) for line in rows for pixel in line for v in (pixel if depth == 3 else [pixel])]
    if normalize and flat:
        low = min(flat)
        if low < 0:
            spread = (max(flat) - low) or 1.0
            flat = [(v - low) / spread for v in flat]
        if max(flat) <= 1:
            flat = [v * 255 for v in flat]
    return Pixels(bytes(int(min(255, max(0, v))) for v in flat), width, height, channels)


def _number(value: Any) -> float:
    number = float(value)
    return number if -1e300 < number < 1e300 else 0.0
