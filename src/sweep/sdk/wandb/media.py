"""Images, sounds, pages and other files that are logged as values.

What an object is made of is read when it is made, as in wandb: a figure may be closed before it is logged. The file is
written, or copied, into `media/` of the run's folder when the object is logged; the row holds a reference to it:
`{"_type": …, "path": within the run's folder, "sha256": …, "size": bytes, …}`.
"""

from __future__ import annotations

import os

from sweep.sdk.wandb._media import Media, WBValue, existing, needed, read
from sweep.sdk.wandb._pixels import figure_png, is_figure, on_the_cpu, pixels
from sweep.sdk.wandb._png import encode, encode_frames
from sweep.sdk.wandb._png import size as png_size
from sweep.sdk.wandb._values import friendly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sweep.sdk.wandb._record import Record


class Image(Media):
    """A picture: a numpy array, a tensor (channels first), nested lists, a matplotlib figure, a PIL image, a path."""

    _type = "image-file"

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Any = None,
        boxes: dict[str, Any] | None = None,
        masks: dict[str, Any] | None = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        """Arrays and figures become PNG; a file keeps its kind. `masks`, `boxes`, `classes`: kept beside it. ValueError for a
        shape that is no picture, FileNotFoundError."""
        content, source, suffix, size = _picture(data_or_path, normalize)
        more: dict[str, Any] = {
            "format": suffix.lstrip("."),
            "caption": caption,
            "grouping": grouping,
            "mode": mode,
        }
        if size is not None:
            more["width"], more["height"] = size
        super().__init__(content, source, suffix, **more)
        self._caption = caption
        self._masks = {name: _mask(mask) for name, mask in (masks or {}).items()}
        self._boxes = {name: friendly(_plain(box)) for name, box in (boxes or {}).items()}
        self._classes = _class_set(classes)

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        reference = super()._stored(record, key, step)
        if self._masks:
            reference["masks"] = {
                name: {**image._stored(record, f"{key}/{name}", step), **more}
                for name, (image, more) in self._masks.items()
            }
        if self._boxes:
            reference["boxes"] = self._boxes
        if self._classes:
            reference["classes"] = self._classes
        return reference

    @property
    def image(self) -> Any:
        """The picture as PIL has it, where PIL is installed."""
        import io

        from PIL import Image as pil  # type: ignore[import-not-found,unused-ignore]

        return (
            pil.open(io.BytesIO(self._content)) if self._content is not None else pil.open(self._source or "")
        )


def _picture(given: Any, normalize: bool) -> tuple[bytes | None, str | None, str, tuple[int, int] | None]:
    """(content, source, suffix, (width, height) when it is known)."""
    if isinstance(given, Image):
        size = (given._more["width"], given._more["height"]) if "width" in given._more else None
        return given._content, given._source, given._suffix, size
    if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__"):
        path = needed(given, "wandb.Image")
        with open(path, "rb") as file:
            size = png_size(file.read(24))
        return None, path, os.path.splitext(path)[1] or ".png", size
    if is_figure(given):
        content = figure_png(given)
        return content, None, ".png", png_size(content)
    if type(given).__module__.partition(".")[0] == "PIL":
        import io

        buffer = io.BytesIO()
        given.save(buffer, format="PNG")
        return buffer.getvalue(), None, ".png", given.size
    torch = type(given).__module__.partition(".")[0] == "torch"
    data, width, height, channels = pixels(given, normalize, channels_first=torch)
    return encode(data, width, height, channels), None, ".png", (width, height)


def _mask(given: Any) -> tuple[Image, dict[str, Any]]:
    values = _plain(given)
    labels = {str(number): str(name) for number, name in (values.get("class_labels") or {}).items()}
    source = values.get("mask_data", values.get("path"))
    image = Image(source, normalize=False)
    return image, {"_type": "mask", **({"class_labels": labels} if labels else {})}


def _plain(given: Any) -> dict[str, Any]:
    return dict(given._values) if isinstance(given, _Annotation) else dict(given)


def _class_set(given: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = friendly(
        given.class_set if isinstance(given, Classes) else list(given or ())
    )
    return found


class _Annotation:
    """A mask or boxes under a name."""

    def __init__(self, val: dict[str, Any], key: str) -> None:
        self._values, self._key = dict(val), key


class ImageMask(_Annotation):
    """A mask: `mask_data` (an array of class numbers) or `path`, and `class_labels`."""


class BoundingBoxes2D(_Annotation):
    """Boxes: `box_data`, and `class_labels`."""


class Classes(WBValue):
    """Names of classes: `[{"id": 0, "name": "cat"}, …]`."""

    def __init__(self, class_set: Sequence[dict[str, Any]]) -> None:
        self.class_set = list(class_set)

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        return {"_type": "classes", "class_set": friendly(self.class_set)}


class Video(Media):
    """A film: a path, an open file, or an array of frames (time, channels, height, width), which becomes an animated PNG."""

    _type = "video-file"
    EXTS = ("gif", "mp4", "webm", "ogg")

    def __init__(
        self,
        data_or_path: Any,
        caption: str | None = None,
        fps: int | None = None,
        format: str | None = None,
    ) -> None:
        """`fps`: frames a second of an array, 4 unless given. ValueError for another shape, FileNotFoundError."""
        source = content = None
        if isinstance(data_or_path, str) or hasattr(data_or_path, "__fspath__"):
            source = needed(data_or_path, "wandb.Video")
            suffix = os.path.splitext(source)[1]
        elif hasattr(data_or_path, "read"):
            content, suffix = read(data_or_path, "wandb.Video"), "." + (format or "gif")
        else:
            content, suffix = _film(data_or_path, fps or 4), ".png"
        super().__init__(content, source, suffix, caption=caption, fps=fps, format=suffix.lstrip("."))
        self._caption = caption


def _film(given: Any, fps: int) -> bytes:
    frames = on_the_cpu(given)
    shape = list(getattr(frames, "shape", ()))
    if len(shape) == 5:  # a batch of films: one after another
        frames = [frame for film in frames for frame in film]
    elif len(shape) != 4:
        raise ValueError("Video must be at least 4 dimensions: time, channels, height, width")
    found = [pixels(frame, channels_first=True) for frame in frames]
    if not found:
        raise ValueError("wandb.Video: there are no frames")
    first = found[0]
    return encode_frames([frame.data for frame in found], first.width, first.height, first.channels, fps)


class Audio(Media):
    """A sound: a path, or samples (one list or array, or one column a channel), which become WAV of 16 bits."""

    _type = "audio-file"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        """`sample_rate`: Hz, required for samples. Samples with a fraction are taken as -1…1. ValueError without a rate,
        FileNotFoundError."""
        if isinstance(data_or_path, str) or hasattr(data_or_path, "__fspath__"):
            source = needed(data_or_path, "wandb.Audio")
            super().__init__(
                None, source, os.path.splitext(source)[1], caption=caption, sample_rate=sample_rate
            )
            return
        if sample_rate is None:
            raise ValueError(
                'Argument "sample_rate" is required when instantiating wandb.Audio with raw data.'
            )
        content, seconds = _wave(data_or_path, int(sample_rate))
        super().__init__(
            content, None, ".wav", caption=caption, sample_rate=int(sample_rate), duration_s=seconds
        )


def _wave(given: Any, rate: int) -> tuple[bytes, float]:
    import io
    import wave
    from array import array

    samples = on_the_cpu(given)
    whole = getattr(getattr(samples, "dtype", None), "kind", "f") in "iu"
    listed = samples.tolist() if hasattr(samples, "tolist") else list(samples)
    frames = [frame if isinstance(frame, (list, tuple)) else [frame] for frame in listed]
    if not whole:
        frames = [[max(-1.0, min(1.0, float(v))) * 32767 if v == v else 0 for v in frame] for frame in frames]
    flat = array("h", [int(max(-32768, min(32767, v))) for frame in frames for v in frame])
    import sys

    if sys.byteorder == "big":
        flat.byteswap()
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(frames[0]) if frames else 1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(flat.tobytes())
    return buffer.getvalue(), len(frames) / rate


class Html(Media):
    """A page: text, an open file, or the path of a `.html` file."""

    _type = "html-file"

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False) -> None:
        """`inject` is accepted: the page is kept as it is."""
        path = None if data_is_not_path else existing(data)
        content = None if path is not None else read(data, "wandb.Html")
        super().__init__(content, path, ".html")


class Object3D(Media):
    """A point cloud (an array of points, or a dict as wandb has it), or the path of a 3D file."""

    _type = "object3D-file"
    SUPPORTED_TYPES = ("babylon", "glb", "gltf", "obj", "pts.json", "stl")

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        """`file_type`: of an open file. TypeError for what is none of these."""
        if isinstance(data_or_path, str) or hasattr(data_or_path, "__fspath__"):
            source = needed(data_or_path, "wandb.Object3D")
            super().__init__(None, source, _long_suffix(source), caption=caption)
        elif hasattr(data_or_path, "read"):
            content = read(data_or_path, "wandb.Object3D")
            super().__init__(content, None, f".{kwargs.get('file_type') or 'obj'}", caption=caption)
        else:
            super().__init__(_points(data_or_path), None, ".pts.json", caption=caption)

    @classmethod
    def from_numpy(cls, data: Any) -> Object3D:
        """A point cloud from an array."""
        return cls(data)

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Object3D:
        """A 3D file."""
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_point_cloud(
        cls, points: Any, boxes: Any, vectors: Any = None, point_cloud_type: str = "lidar/beta"
    ) -> Object3D:
        """A scene of points, boxes and vectors."""
        return cls({"type": point_cloud_type, "points": points, "boxes": boxes, "vectors": vectors})


def _points(given: Any) -> bytes:
    import json

    values = {**given} if isinstance(given, dict) else {"type": "lidar/beta", "points": given}
    lists = {name: _listed(value) for name, value in values.items() if value is not None}
    return json.dumps(lists, default=friendly).encode()


def _listed(value: Any) -> Any:
    value = on_the_cpu(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _long_suffix(path: str) -> str:
    return ".pts.json" if path.endswith(".pts.json") else os.path.splitext(path)[1]


class Molecule(Media):
    """A molecule: the path of a file, or an open file with `file_type`."""

    _type = "molecule-file"
    SUPPORTED_TYPES = ("pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf")

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        """FileNotFoundError for a path without a file."""
        if hasattr(data_or_path, "read"):
            content = read(data_or_path, "wandb.Molecule")
            super().__init__(content, None, f".{kwargs.get('file_type') or 'pdb'}", caption=caption)
            return
        source = needed(data_or_path, "wandb.Molecule")
        super().__init__(None, source, os.path.splitext(source)[1], caption=caption)

    @classmethod
    def from_rdkit(cls, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> Molecule:
        """The path of a molecule file. What RDKit holds in memory must be written to a file first."""
        return cls(data_or_path, caption)

    @classmethod
    def from_smiles(cls, data: str, caption: str | None = None, **kwargs: Any) -> Molecule:
        """A molecule as a line of SMILES, kept as it is."""
        molecule = cls.__new__(cls)
        Media.__init__(molecule, data.encode(), None, ".smi", caption=caption)
        return molecule


class Plotly(Media):
    """A plotly figure as JSON; a matplotlib figure as PNG."""

    _type = "plotly-file"

    def __init__(self, val: Any) -> None:
        """ValueError for what is neither."""
        if is_figure(val):
            super().__init__(figure_png(val), None, ".png")
        elif hasattr(val, "to_json"):
            super().__init__(str(val.to_json()).encode(), None, ".plotly.json")
        else:
            raise ValueError("Logged plots must be plotly figures, or matplotlib plots")


class Histogram(WBValue):
    """Counts and bin edges: of a sequence, or as `numpy.histogram` returns them."""

    MAX_LENGTH = 512

    def __init__(self, sequence: Any = None, np_histogram: Any = None, num_bins: int = 64) -> None:
        """Values that are not finite are left out. ValueError for more than 512 bins, or edges that do not fit."""
        if np_histogram is not None:
            if len(np_histogram) != 2:
                raise ValueError("Expected np_histogram to be a tuple of (values, bin_edges)")
            self.histogram, self.bins = (list(_listed(part)) for part in np_histogram)
        else:
            self.histogram, self.bins = _counted(_flat(_listed(sequence)), num_bins)
        if len(self.histogram) > self.MAX_LENGTH:
            raise ValueError(f"The maximum length of a histogram is {self.MAX_LENGTH}")
        if len(self.histogram) + 1 != len(self.bins):
            raise ValueError("len(bins) must be len(histogram) + 1")

    def to_json(self, run: Any = None) -> dict[str, Any]:
        """What the row holds."""
        return {"_type": "histogram", "values": self.histogram, "bins": self.bins}

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        return self.to_json()


def _flat(given: Any) -> list[float]:
    if not isinstance(given, (list, tuple)):
        given = list(given) if hasattr(given, "__iter__") else [given]
    if given and isinstance(given[0], (list, tuple)):
        return [value for part in given for value in _flat(part)]
    return [float(value) for value in given]


def _counted(values: list[float], bins: int) -> tuple[list[int], list[float]]:
    """Equal bins from the smallest to the largest value, the last one closed."""
    finite = [value for value in values if -float("inf") < value < float("inf")]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    width = high / bins - low / bins  # not (high - low) / bins, which may overflow
    edges = [low + number * width for number in range(bins)] + [high]
    counts = [0] * bins
    for value in finite:
        place = int((value / 2 - low / 2) / (width / 2)) if width else 0
        counts[min(bins - 1, max(0, place))] += 1
    return counts, edges


class Graph(WBValue):
    """A model's graph: nodes and edges by name."""

    def __init__(self, format: str = "keras") -> None:
        self.format = format
        self.nodes: list[Any] = []
        self.edges: list[Any] = []

    def add_node(self, node: Any = None, **node_kwargs: Any) -> Any:
        """Add a node, or one made of these attributes."""
        self.nodes.append(node if node is not None else node_kwargs)
        return self.nodes[-1]

    def add_edge(self, from_node: Any, to_node: Any) -> Any:
        """Add an edge."""
        self.edges.append((from_node, to_node))
        return self.edges[-1]

    def _stored(self, record: Record, key: str, step: int) -> dict[str, Any]:
        return {
            "_type": "graph",
            "format": self.format,
            "nodes": friendly(self.nodes),
            "edges": friendly(self.edges),
        }


def box3d(
    *,
    center: Any,
    size: Any,
    orientation: Any,
    color: Any,
    label: str | None = None,
    score: float | None = None,
) -> dict[str, Any]:
    """A box in a 3D scene."""
    box = {
        "center": center,
        "size": size,
        "orientation": orientation,
        "color": color,
        "label": label,
        "score": score,
    }
    return {name: friendly(_listed(value)) for name, value in box.items() if value is not None}


Box3D = box3d
