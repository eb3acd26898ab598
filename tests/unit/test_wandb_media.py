"""What `wandb.Image` and the like leave in the run's folder, and what the row says about it."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.sdk.wandb import _logged, _png, media, plots, tables
from sweep.sdk.wandb._metrics import Aggregate
from sweep.sdk.wandb._record import Record, _safe


class Folder(Record):
    """A record that is a folder alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._names = set()


@pytest.fixture
def record(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "run")


def stored(record: Record, value: Any, name: str = "key") -> dict[str, Any]:
    found: dict[str, Any] = _logged._stored(name, value, record, 3)
    return found


def content(record: Record, reference: dict[str, Any]) -> bytes:
    """The file that a reference names; what the reference says about it must be true."""
    data = (Path(record.folder) / reference["path"]).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (reference["size"], reference["sha256"])
    return data


def decoded(data: bytes) -> tuple[int, int, int, bytes]:
    """(width, height, channels, pixels) of a PNG, by the letter of its specification."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, body, header = 8, b"", b""
    while place < len(data):
        length = struct.unpack(">I", data[place : place + 4])[0]
        kind, part = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0] == zlib.crc32(
            kind + part
        )
        header, body = (part, body) if kind == b"IHDR" else (header, body + part if kind == b"IDAT" else body)
        place += 12 + length
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", header)
    assert (depth, rest) == (8, [0, 0, 0])
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    rows = zlib.decompress(body)
    line = width * channels + 1
    assert len(rows) == line * height
    assert all(rows[start] == 0 for start in range(0, len(rows), line))
    return (
        width,
        height,
        channels,
        b"".join(rows[start + 1 : start + line] for start in range(0, len(rows), line)),
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_become_png_bit_for_bit(record: Folder, channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    pixels[0, 0] = 255
    reference = stored(record, media.Image(pixels, caption="c"))
    assert (reference["_type"], reference["path"]) == ("image-file", "media/key_3_0.png")
    assert (reference["width"], reference["height"], reference["caption"], reference["format"]) == (
        7,
        5,
        "c",
        "png",
    )
    assert decoded(content(record, reference)) == (7, 5, channels, pixels.tobytes())


def test_other_programs_can_read_them(record: Folder) -> None:
    from PIL import Image

    pixels = np.random.default_rng(2).integers(0, 256, (9, 4, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(content(record, stored(record, media.Image(pixels))))) as image:
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([[0.0, 0.5], [1.0, 0.25]]), [0, 127, 255, 63]),
        (np.array([[-1.0, 1.0], [0.0, 0.0]]), [0, 255, 127, 127]),
        (np.array([[0, 300], [-0, 128]]), [0, 255, 0, 128]),
        (np.array([[True, False], [False, True]]), [255, 0, 0, 255]),
        (np.array([[0.0, float("nan")], [1.0, 0.0]]), [0, 0, 255, 0]),
        ([[0, 0.5], [1, 0.25]], [0, 127, 255, 63]),
        ([[[0], [10]], [[20], [255]]], [0, 10, 20, 255]),
    ],
)
def test_values_are_scaled_as_wandb_does(record: Folder, given: Any, expected: list[int]) -> None:
    assert list(decoded(content(record, stored(record, media.Image(given))))[3]) == expected


def test_figures_pictures_and_files(record: Folder, tmp_path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    figure, axes = plt.subplots(figsize=(2, 1), dpi=50)
    axes.plot([1, 2])
    images = [media.Image(plt), media.Image(figure), media.Image(axes)]
    direct = stored(record, plt)
    plt.close(figure)
    for reference in [stored(record, image) for image in images] + [
        direct,
        stored(record, media.Plotly(figure)),
    ]:
        assert _png.size(content(record, reference)) == (100, 50)
    assert _png.size(content(record, stored(record, Image.new("RGB", (3, 2))))) == (3, 2)
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"not really")
    reference = stored(record, media.Image(path))
    assert reference["path"].endswith(".jpg")
    assert content(record, reference) == b"not really"
    for bad in (np.zeros((2, 2, 5)), np.zeros(3), [1, 2]):
        with pytest.raises(ValueError, match="shape"):
            media.Image(bad)
    with pytest.raises(FileNotFoundError, match="no file"):
        media.Image(tmp_path / "none.png")


def test_masks_boxes_and_classes_are_kept(record: Folder) -> None:
    mask = {"mask_data": np.array([[0, 1], [1, 2]]), "class_labels": {0: "sky", 1: "road"}}
    box = {"box_data": [{"position": {"minX": 0, "maxX": 1, "minY": 0, "maxY": 1}, "class_id": 1}]}
    image = media.Image(
        np.zeros((2, 2)), masks={"truth": mask}, boxes={"b": box}, classes=[{"id": 0, "name": "sky"}]
    )
    reference = stored(record, image)
    assert decoded(content(record, reference["masks"]["truth"]))[3] == bytes([0, 1, 1, 2])
    assert reference["masks"]["truth"]["class_labels"] == {"0": "sky", "1": "road"}
    assert reference["boxes"] == {"b": box}
    assert reference["classes"] == [{"id": 0, "name": "sky"}]


def test_lists_and_names(record: Folder) -> None:
    image = media.Image(np.zeros((1, 1)))
    reference = stored(record, [image, image], "val/pictures")
    assert reference["_type"] == "images/separated"
    paths = [item["path"] for item in reference["items"]]
    assert paths == ["media/val/pictures_3_0.png", "media/val/pictures_3_1.png"]
    assert stored(record, image, "../../etc/../x y:z")["path"] == "media/etc/x y_z_3_0.png"
    assert stored(record, image, "..")["path"] == "media/value_3_0.png"
    assert len(_safe("x" * 500)) == 100


def test_an_array_of_frames_becomes_an_animated_png(record: Folder) -> None:
    from PIL import Image

    frames = np.random.default_rng(3).integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    reference = stored(record, media.Video(frames, fps=8))
    data = content(record, reference)
    assert (reference["_type"], reference["fps"], reference["format"]) == ("video-file", 8, "png")
    with Image.open(io.BytesIO(data)) as film:
        assert (film.n_frames, film.size) == (4, (6, 5))  # type: ignore[attr-defined]
        for number in range(4):
            film.seek(number)
            assert np.array_equal(np.asarray(film.convert("RGB")), frames[number].transpose(1, 2, 0))
            assert film.info["duration"] == 125
    with pytest.raises(ValueError, match="4 dimensions"):
        media.Video(np.zeros((3, 5, 6)))


def test_samples_become_wav(record: Folder) -> None:
    reference = stored(record, media.Audio(np.array([0.0, 1.0, -1.0, 2.0, float("nan")]), sample_rate=5))
    assert (reference["duration_s"], reference["sample_rate"]) == (1.0, 5)
    with wave.open(io.BytesIO(content(record, reference))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (5, 1, 2)
        assert struct.unpack("<5h", file.readframes(5)) == (0, 32767, -32767, 32767, 0)
    stereo = stored(record, media.Audio(np.array([[1, -2], [3, 40000]]), sample_rate=2))
    with wave.open(io.BytesIO(content(record, stereo))) as file:
        assert file.getnchannels() == 2
        assert struct.unpack("<4h", file.readframes(2)) == (1, -2, 3, 32767)


def test_texts_and_files_are_copied(record: Folder, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>file</p>")
    assert content(record, stored(record, media.Html("<p>text</p>"))) == b"<p>text</p>"
    assert content(record, stored(record, media.Html(str(page)))) == b"<p>file</p>"
    assert content(record, stored(record, media.Html(str(page), data_is_not_path=True))) == str(page).encode()
    assert content(record, stored(record, media.Html(io.StringIO("<p>open</p>")))) == b"<p>open</p>"
    molecule = tmp_path / "m.pdb"
    molecule.write_text("ATOM")
    assert stored(record, media.Molecule(molecule))["path"].endswith(".pdb")
    assert content(record, stored(record, media.Molecule.from_smiles("CCO"))) == b"CCO"
    points = json.loads(content(record, stored(record, media.Object3D(np.array([[1.0, 2.0, 3.0]])))))
    assert points == {"type": "lidar/beta", "points": [[1.0, 2.0, 3.0]]}
    with pytest.raises(TypeError, match="path"):
        media.Html(3)


def test_plotly_figures_are_json(record: Folder) -> None:
    import plotly.graph_objects as go

    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
    for value in (figure, media.Plotly(figure)):
        reference = stored(record, value)
        assert reference["path"].endswith(".plotly.json")
        assert json.loads(content(record, reference))["data"][0]["type"] == "scatter"


def test_histograms(record: Folder) -> None:
    counts, edges = np.histogram([1, 2, 2, 3, 9.5], bins=6)
    histogram = media.Histogram([1, 2, 2, 3, 9.5, float("nan"), float("inf")], num_bins=6)
    assert histogram.histogram == counts.tolist()
    assert np.allclose(histogram.bins, edges)
    assert sum(media.Histogram([5, 5, 5]).histogram) == 3
    assert media.Histogram([]).histogram == [0] * 64
    assert sum(media.Histogram(np.array([[1e308, -1e308], [0, 0]])).histogram) == 4
    assert stored(record, np.arange(100))["_type"] == "histogram"
    assert stored(record, np.arange(3)).tolist() == [0, 1, 2]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="512"):
        media.Histogram([1], num_bins=600)


def test_tables_are_json_in_the_form_of_wandb(record: Folder) -> None:
    table = tables.Table(columns=["a", "b"], data=[[1, "x"], [np.float64(2.5), None]])
    table.add_data(3, media.Image(np.zeros((1, 1))))
    reference = stored(record, table)
    assert (reference["_type"], reference["ncols"], reference["nrows"]) == ("table-file", 2, 3)
    assert reference["path"] == "media/key_3_0.table.json"
    found = json.loads(content(record, reference))
    assert found["columns"] == ["a", "b"]
    assert found["data"][:2] == [[1, "x"], [2.5, None]]
    assert found["data"][2][0] == 3
    assert _png.size(content(record, found["data"][2][1])) == (1, 1)
    chart = plots.bar(table, "a", "b", title="t")
    assert stored(record, chart)["chart"] == {
        "name": "wandb/bar/v0",
        "fields": {"label": "a", "value": "b"},
        "strings": {"title": "t"},
    }


def test_tables_from_frames_and_arrays() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for table in (tables.Table(dataframe=frame), tables.Table(data=frame)):
        assert (table.columns, table.data) == (["a", "b"], [[1, "x"], [2, "y"]])
    assert tables.Table(data=frame).get_dataframe().equals(frame)
    table = tables.Table(data=np.array([[1, 2], [3, 4]]), columns=["p", "q"])
    assert table.get_column("q") == [2, 4]
    table.add_computed_columns(lambda number, row: {"sum": row["p"] + row["q"], "number": number})
    assert table.data == [[1, 2, 3, 0], [3, 4, 7, 1]]


def test_precision_and_recall() -> None:
    chart = plots.pr_curve([0, 1, 1], [[0.8, 0.2], [0.3, 0.7], [0.9, 0.1]], interp_size=3)
    ones = [row[1:] for row in chart.table.data if row[0] == "1"]
    assert ones == [[1.0, 0.0], [1.0, 0.5], [0.667, 1.0]]


def test_what_cannot_be_stored_is_said_once_and_recorded_as_text(
    record: Folder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file in the way")
    image = media.Image(np.zeros((1, 1)))
    for _ in range(2):
        value = _logged.stored("no room", image, record, 0)
    assert isinstance(value, str)
    assert value.startswith("<Image: ")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("sweep: 'no room' could not be recorded as Image: ")


@pytest.mark.parametrize("seed", range(20))
def test_aggregates_are_those_of_the_last_values_of_each_step(seed: int) -> None:
    """Against the plain account: a list of the last value of each step."""
    generator = np.random.default_rng(seed)
    aggregate, last = Aggregate(), {}
    step = 0
    for _ in range(30):
        step += int(generator.integers(0, 2))
        value = float(generator.choice([generator.normal(), float("nan")], p=[0.8, 0.2]))
        aggregate.add(step, value)
        last[step] = value
        numbers = [v for v in last.values() if v == v]
        assert np.array_equal(aggregate.result("last", None), value, equal_nan=True)
        assert np.array_equal(aggregate.result("first", None), next(iter(last.values())), equal_nan=True)
        if not numbers:
            assert aggregate.result("min", None) is aggregate.result("mean", None) is None
            continue
        assert aggregate.result("min", None) == aggregate.result("best", None) == min(numbers)
        assert aggregate.result("max", None) == aggregate.result("best", "max") == max(numbers)
        assert aggregate.result("mean", None) == pytest.approx(sum(numbers) / len(numbers))
