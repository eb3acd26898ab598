"""Files: pictures that open and show something, a page that loads nothing, all or nothing on disk."""

from __future__ import annotations

import html.parser
import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysed import SPACE, parameter, run_view, sweep, table_of
from sweep.analysis.figures import page, png, theme, web, web_layout, write_plots
from sweep.analysis.figures.pictures import Pictures
from sweep.analysis.figures.prepare import prepare
from sweep.analysis.importance import Importance, ImportanceRow
from sweep.analysis.table import SweepTable
from sweep.core.space import Categorical, Numeric, Space
from sweep.core.views import RunState

NAMES = ["importance", "best-so-far", "learning-curves", "parallel-coordinates", "slices"]
HOSTILE = "</script><script>alert(1)</script><img src=http://x/y> $\\frac{$ 学習 & \"'"


def _mixed(number: int) -> RunState:
    states: list[RunState] = ["completed", "completed", "pruned", "failed", "running", "cancelled"]
    return states[number % 6]


def _importance(*names: str) -> Importance:
    rows = tuple(
        ImportanceRow(
            parameter=name, importance=0.5 - 0.1 * i, low=0.3 - 0.1 * i if i < 3 else 0.0, high=0.6, above_noise=i == 0,
            correlation=None if i == 3 else -0.5 + 0.2 * i, correlation_kind="" if i == 3 else ("eta" if i == 2 else "rho"),
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    return Importance(method="a forest", metric="loss", n=20, rows=rows, noise=0.07, note="A note.")


RANKED = _importance(*(q.name for q in SPACE.parameters[:5]))
QUIET = Importance(method="none", metric="loss", n=0, note="not enough signal: too few.")


def _hostile() -> SweepTable:
    space = Space(
        (parameter(HOSTILE, Categorical((HOSTILE, "$a$", None))), parameter("x.<b>", Numeric(1e-4, 1, "log")))
    )
    chosen = [HOSTILE, "$a$", None]
    runs = [
        run_view(
            i + 1, {HOSTILE: chosen[i % 3], "x": {"<b>": 10.0 ** -(i % 4)}}, objective=0.1 * i, reason=HOSTILE
        )
        for i in range(12)
    ]
    return table_of(runs, space=space, metric=HOSTILE, name=HOSTILE, description=HOSTILE)


CASES: dict[str, tuple[Any, Importance]] = {
    "mixed": (lambda: sweep(40, state=_mixed), RANKED),
    "three": (lambda: sweep(3), QUIET),
    "failed": (lambda: sweep(20, state=lambda _: "failed"), QUIET),
    "empty": (lambda: table_of([]), QUIET),
    "one": (lambda: sweep(1), QUIET),
    "wide": (lambda: sweep(12, space=Space(tuple(parameter(f"group.parameter_{i}", Numeric(0, 1)) for i in range(14))),
                           objective=lambda c: float(c["group"]["parameter_0"]), goal="maximize"), QUIET),
    "hostile": (_hostile, _importance(HOSTILE, "x.<b>")),
    "extreme": (lambda: table_of([run_view(i, {"x": 0.1 * i}, objective=v) for i, v in enumerate([1e300, -1e308, 5e-324, 0.0], 1)],
                                 space=Space((parameter("x", Numeric(0, 1)),))), QUIET),
}  # fmt: skip


def _prepared(case: str) -> tuple[SweepTable, Pictures]:
    make, importance = CASES[case]
    table = make()
    return table, prepare(table, importance)


# --- PNG -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_png_opens_and_is_not_blank(case: str) -> None:
    from matplotlib.image import imread

    _, pictures = _prepared(case)
    files = png.render(pictures, "a sweep")
    assert list(files) == [f"{name}.png" for name in NAMES]
    for name, data in files.items():
        image = imread(io.BytesIO(data), format="png")
        assert image.shape[1] == round(png.WIDTH_IN * png.DPI)
        assert 200 < image.shape[0] < 6000
        ink = (image[..., :3] < 0.9).any(axis=2)
        assert 0.002 < ink.mean() < 0.6, name
        # Nothing is cut off at an edge.
        assert not (ink[:, :3].any() or ink[:, -3:].any() or ink[-3:, :].any()), name


def test_png_leaves_matplotlib_as_it_was_and_is_the_same_every_time() -> None:
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    _, pictures = _prepared("mixed")
    assert png.render(pictures, "a") == png.render(pictures, "a")
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


# --- plotly figures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_plotly_accepts_every_figure(case: str) -> None:
    import plotly.graph_objects as go

    _, pictures = _prepared(case)
    made = web.figures(pictures)
    assert list(made) == NAMES
    for figures in made.values():
        for figure in figures:
            go.Figure(data=figure["data"], layout=figure["layout"])
            msgspec.json.encode(figure)
    empty = {
        picture.key
        for picture in (
            pictures.importance,
            pictures.best,
            pictures.curves,
            pictures.parallel,
            pictures.slices,
        )
        if picture.empty
    }
    assert {key for key, figures in made.items() if not figures} == empty


def _unpack(packed: dict[str, str]) -> list[float]:
    import base64
    from array import array

    return list(array({"f4": "f", "f8": "d", "i4": "i"}[packed["dtype"]], base64.b64decode(packed["bdata"])))


def test_axes_are_logarithmic_where_the_parameter_is() -> None:
    table, pictures = _prepared("mixed")
    by_name = dict(
        zip(
            (panel.axis.name for panel in pictures.slices.panels),
            web.figures(pictures)["slices"],
            strict=True,
        )
    )
    assert by_name["lr"]["layout"]["xaxis"]["type"] == "log"
    assert by_name["lr"]["layout"]["xaxis"]["tickformat"] == "~g", (
        "each tick is a whole number, not a digit between powers"
    )
    assert "type" not in by_name["dropout"]["layout"]["xaxis"]
    assert by_name["optimizer.name"]["layout"]["xaxis"]["ticktext"] == ["adam", "sgd", "rmsprop"]
    trace = by_name["lr"]["data"][0]
    for x, trial in zip(_unpack(trace["x"]), _unpack(trace["customdata"]), strict=True):
        assert x == pytest.approx(table.trials[int(trial)].config["lr"], rel=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.4, 0.9), (0.001, 100.0)])
def test_buttons_change_the_ticks_with_the_scale(low: float, high: float) -> None:
    """A tick at every whole number suits a log axis of 5 decades, and not a linear one up to a million."""
    from sweep.analysis.axes import objective_axis

    axis = objective_axis("loss", [low, high], minimize=True)
    own = web_layout.axis_layout(axis)
    linear, log = (button["args"][0] for button in web._scale_buttons(axis)["buttons"])
    assert (linear["yaxis.dtick"], linear["yaxis.tickformat"]) == (None, None)
    assert (log["yaxis.type"], log["yaxis.tickformat"]) == ("log", "~g")
    assert log["yaxis.dtick"] == own.get("dtick")


def test_parallel_lines_carry_their_trials_for_the_table() -> None:
    _, pictures = _prepared("mixed")
    (figure,) = web.figures(pictures)["parallel-coordinates"]
    dimensions = figure["data"][0]["dimensions"]
    assert all(len(_unpack(d["values"])) == len(figure["trials"]) for d in dimensions)
    assert all(d["range"][0] <= v <= d["range"][1] for d in dimensions for v in _unpack(d["values"]))


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_scale_of_colours_has_its_best_end_where_the_axis_beside_it_has_it(goal: str) -> None:
    table = sweep(12, goal=goal)
    pictures = prepare(table, _importance())
    (figure,) = web.figures(pictures)["parallel-coordinates"]
    line, scores = figure["data"][0]["line"], list(_unpack(figure["data"][0]["dimensions"][-1]["values"]))
    colours = list(_unpack(line["color"]))
    at_the_top = scores.index(max(scores))
    assert colours[at_the_top] == max(colours), "the scale's top is its highest number"
    top = "best" if goal == "maximize" else "worst"
    assert line["colorbar"]["ticktext"][1] == top
    best_number = 1.0 if goal == "maximize" else 0.0
    assert colours[len(scores) - 1] == best_number, "the best is drawn last"
    ends = [line["colorscale"][0][1], line["colorscale"][-1][1]]
    assert line["reversescale"] == (ends[int(best_number)] != theme.SCALE[0])


def test_the_page_has_colours_for_dark_screens() -> None:
    """Whatever is light by day is a variable, and each of these has a second value for the night."""
    table, pictures = _prepared("mixed")
    style = page.render(table, pictures).split("</style>", 1)[0]
    day, night = re.findall(r":root \{([^}]*)\}", style)
    assert set(re.findall(r"--\w+", day)) == set(re.findall(r"--\w+", night))
    screens = style.split("@media print")[0].rsplit(":root", 1)[1].split("}", 1)[1]
    assert not re.findall(r"#[0-9a-f]{3,6}\b", screens)


def test_every_state_has_a_look_of_its_own() -> None:
    looks = list(theme.STATES.values())
    for field in ("colour", "marker", "symbol"):
        assert len({getattr(look, field) for look in looks}) == len(looks)
    assert theme.colour_at(0.0) == theme.SCALE[0]
    assert theme.colour_at(2.0) == theme.SCALE[-1]


# --- the page --------------------------------------------------------------------------------------------------


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(text: str) -> _Tags:
    tags = _Tags()
    tags.feed(text)
    return tags


@pytest.mark.parametrize("case", CASES)
def test_the_page_loads_nothing_and_holds_valid_data(case: str) -> None:
    table, pictures = _prepared(case)
    text = page.render(table, pictures)
    tags = _read(text)
    for tag, attributes in tags.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert sum(tag == "script" for tag, _ in tags.tags) == 3
    assert "default-src 'none'" in text[:600]
    css = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in css and "@import" not in css
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))  # type: ignore[union-attr]
    assert list(data["figures"]) == NAMES
    assert len(data["runs"]["rows"]) == len(table.runs)
    assert all(len(row) == len(data["runs"]["columns"]) for row in data["runs"]["rows"])
    for picture in (pictures.importance, pictures.best, pictures.slices):
        if picture.empty:
            assert any(picture.empty in piece for piece in tags.text)


def test_the_header_says_what_the_sweep_is() -> None:
    table, pictures = _prepared("mixed")
    said = " ".join(_read(page.render(table, pictures).partition('<script type="application/json"')[0]).text)
    best = table.best
    assert best is not None
    for words in (
        "example",
        "swp1",
        "ended",
        "loss, lower is better",
        f"run swp1-{best.trial + 1}",
        "7 pruned",
        "optimizer.name",
    ):
        assert words in said


def test_names_cannot_become_markup() -> None:
    table, pictures = _prepared("hostile")
    text = page.render(table, pictures)
    assert "<script>alert" not in text
    assert "<img" not in text.partition('<script type="application/json"')[0]
    (dimension, *_) = web.figures(pictures)["parallel-coordinates"][0]["data"][0]["dimensions"]
    assert "<" not in dimension["label"]


def test_the_page_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    table = sweep(1000, steps=100)
    text = page.render(table, prepare(table, RANKED))
    assert len(text) < 8_000_000
    monkeypatch.setattr(page, "MOST_TABLE_BYTES", 10_000)
    cut = page.render(table, prepare(table, RANKED))
    assert "runs are not on this page" in cut
    assert len(text) - len(cut) > 30_000


def test_the_run_table_is_sorted_best_first() -> None:
    table = sweep(5, goal="maximize")
    runs, left_out = page._runs(table)
    assert left_out == 0
    assert runs["columns"][runs["sort"]]["label"] == "loss"
    assert runs["descending"] is True
    best = table.best
    assert best is not None
    assert runs["best"] == best.trial + 1


# --- writing ---------------------------------------------------------------------------------------------------


def test_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "a" / "plots"
    paths = write_plots(sweep(3), out, {"html", "png"}, QUIET)
    assert [path.name for path in paths] == ["index.html", *(f"{name}.png" for name in NAMES)]
    assert sorted(out.iterdir()) == sorted(paths)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in paths)
    assert [path.name for path in write_plots(sweep(3), out, {"html"}, QUIET)] == ["index.html"]


def test_importance_is_computed_when_it_is_not_given(tmp_path: Path) -> None:
    (path,) = write_plots(sweep(3), tmp_path, ["html"])
    assert "at least 8 are needed" in path.read_text(encoding="utf-8")


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown format 'pdf': choose from html, png"):
        write_plots(sweep(3), tmp_path / "x", ["html", "pdf"])  # type: ignore[list-item]
    assert not (tmp_path / "x").exists()


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_plots(sweep(3), tmp_path, ["html"], QUIET)
    before = path.read_bytes()

    def refuse(source: str, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_plots(sweep(9), tmp_path, ["html"], QUIET)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
