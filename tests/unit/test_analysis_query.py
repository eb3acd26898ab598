"""Filters, sorting, records and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import operator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysed import run_view
from sweep.analysis.comma import columns_to_csv, runs_to_csv, to_csv
from sweep.analysis.query import (
    LONGEST,
    QueryError,
    compile_filter,
    names_of,
    select,
    select_runs,
    sort_records,
)
from sweep.analysis.records import record, records
from sweep.analysis.written import written
from sweep.cli.common import print_json, print_json_list
from sweep.core.outcomes import Usage
from sweep.core.views import AttemptView, RunView


def _records() -> list[dict[str, Any]]:
    configs = [
        {
            "lr": 0.1,
            "optimizer": {"name": "adam"},
            "loss": 1,
            "weight-decay": 0.1,
            "lambda": 1,
            "labels": ["a"],
        },
        {"lr": 0.01, "optimizer": {"name": "sgd"}, "loss": 2, "weight-decay": 0.2, "lambda": 2, "labels": []},
        {
            "lr": 0.001,
            "optimizer": {"name": "adam"},
            "loss": 3,
            "weight-decay": 0.3,
            "lambda": 3,
            "labels": None,
        },
    ]
    views = [
        run_view(1, configs[0], "completed", 0.5, summary={"val/acc": 0.9, "loss": 5.0}),
        run_view(
            2,
            configs[1],
            "failed",
            None,
            summary={"val/acc": math.nan},
            reason="exit code 1: CUDA out of memory",
        ),
        run_view(3, configs[2], "running", 0.25, summary={}),
    ]
    return [record(view) for view in views]


def _runs(where: str) -> list[int]:
    return [row["run"] for row in select(_records(), where)]


@pytest.mark.parametrize(
    ("where", "runs"),
    [
        ('state == "failed"', [2]),
        ("lr < 0.05", [2, 3]),
        ("config.lr >= 1e-2 and not optimizer.name == 'sgd'", [1]),
        ("0.001 < lr <= 0.1", [1, 2]),
        ("objective == none", [2]),
        ("objective is not None", [1, 3]),
        ("objective < 0.3 or state in ['failed', 'pruned']", [2, 3]),
        ("summary.val/acc > 0.5", [1]),
        ("summary.val.acc > 0.5", [1]),
        ('summary["val/acc"] > 0.5', [1]),
        ("summary.val/acc == nan", []),
        ("weight-decay > 0.15", [2, 3]),
        ('config["lambda"] == 2', [2]),
        ("config.loss == 2", [2]),
        ('"CUDA" in reason', [2]),
        ('"a" in labels', [1]),
        ("trial in (0, 2)", [1, 3]),
        ("lr > -1", [1, 2, 3]),
        ("lr < -inf", []),
        ("exit_code", [2]),
        ("not exit_code == 0", [2, 3]),
        ("lr == '0.1'", []),
        ("lr < 'x'", []),
        ("state != 'failed' and true", [1, 3]),
        ("  run == 3  ", [3]),
        ("run == 3 # the last", [3]),
        ("(run == 1\n or run == 2)", [1, 2]),
        ('host == "node1" and gpus == ["0"]', [1, 2, 3]),
    ],
)
def test_filters(where: str, runs: list[int]) -> None:
    assert _runs(where) == runs


@pytest.mark.parametrize(
    ("where", "column", "said"),
    [
        ("", 1, "empty"),
        ("optimizer.nam == 'x'", 1, "did you mean optimizer.name"),
        ("lr < 1 and stat == 'x'", 12, "did you mean state"),
        ("état == 1 and stat == 1", 1, "unknown name état"),
        ("'é' == state and stat == 1", 18, "did you mean state"),
        ("state == failed", 10, 'state == "failed"'),
        ("lr = 1", 4, "compare with =="),
        ("lr < 1 && run > 1", 9, "write and"),
        ("config.lambda == 1", 8, 'config["lambda"]'),
        ("len(state) > 1", 1, "functions cannot be called"),
        ("lr * 2 > 1", 1, "no arithmetic"),
        ("lr + 2 > 1", 1, "no arithmetic"),
        ("(lr > 1) & (lr < 2)", 1, "write and"),
        ("loss == 1", 1, "config.loss or summary.loss"),
        ("lr in [0.1, abc]", 13, "in quotes"),
        ("[x for x in y]", 1, "consists of"),
        ("lr < ,", 6, "no complete expression"),
        ("__import__('os').system('x')", 1, "functions cannot be called"),
        ("(lr := 3)", 2, "consists of"),
        ("b'x' == state", 1, "consists of"),
        ("(lr > 1) > 2", 2, "a comparison needs"),
        ("nothing_like_it > 1", 1, "names are id, run, trial"),
    ],
)
def test_errors_say_where_and_what(where: str, column: int, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        select(_records(), where)
    assert caught.value.column == column
    assert said in str(caught.value)
    if where.isascii() and where:
        caret = str(caught.value).splitlines()[-1]
        assert caret.index("^") - 2 == column - 1


@pytest.mark.parametrize(
    "where",
    [
        "(" * 500,
        "not " * 400 + "lr",
        "lr" + ".a" * 900,
        "-" * 900 + "1",
        "[" * 300 + "]" * 300,
        "x" * (LONGEST + 1),
    ],
)
def test_huge_expressions_are_refused_not_crashed_on(where: str) -> None:
    with pytest.raises(QueryError):
        compile_filter(where, ["lr"])


_PIECES = st.sampled_from(
    ["lr", "state", "summary", ".", "/", "-", "(", ")", "[", "]", "{", "}", "'", '"', "\\", "==", "<", "in", "not", "and", "or", "is",
     "none", "True", "1", "1e999", "0x", "nan", "lambda", ":", ":=", "*", "**", ",", "\n", "\x00", "é", "ﬁ", "f'{lr}'", "b''", "1j", "...",
     "await", "yield", "#", " ", "\ud800", "1if 1else 2", "@", "~"]
)  # fmt: skip


@settings(max_examples=400)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(_PIECES, max_size=14).map("".join),
        st.lists(_PIECES, max_size=14).map(" ".join),
    )
)
@example("a.b.c == {1, 2}")
@example("'\\N{foo}' == state")
def test_whatever_the_text_only_a_query_error_comes_out(where: str) -> None:
    try:
        holds = compile_filter(where, names_of(_records()))
        answers = [holds(row) for row in _records()]
    except QueryError as error:
        assert 1 <= error.column <= max(len(where), 1) + 1
        assert str(error).startswith(f"column {error.column}: ")
    else:
        assert all(isinstance(answer, bool) for answer in answers)


SIGNS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@given(st.floats(allow_nan=False), st.sampled_from(sorted(SIGNS)))
def test_comparisons_are_those_of_numbers(limit: float, sign: str) -> None:
    expected = [row["run"] for row in _records() if SIGNS[sign](row["config"]["lr"], limit)]
    assert _runs(f"lr {sign} {limit!r}") == expected


def test_sorting() -> None:
    rows = _records()
    assert [row["run"] for row in sort_records(rows, "lr")] == [3, 2, 1]
    assert [row["run"] for row in sort_records(rows, "-lr")] == [1, 2, 3]
    assert [row["run"] for row in sort_records(rows, "objective")] == [3, 1, 2]
    assert [row["run"] for row in sort_records(rows, "-objective")] == [1, 3, 2]
    assert [row["run"] for row in sort_records(rows, "summary.val/acc")] == [1, 2, 3]
    assert [row["run"] for row in sort_records(rows, "-host")] == [1, 2, 3]
    assert [row["run"] for row in sort_records(rows, "-labels")] == [2, 1, 3]
    assert [row["run"] for row in select(rows, "lr < 0.05", "-run")] == [3, 2]
    with pytest.raises(QueryError, match="did you mean objective"):
        sort_records(rows, "-objektive")
    with pytest.raises(QueryError, match="unknown name"):
        sort_records(rows, "")


def test_names_exist_even_without_runs() -> None:
    assert select([], 'state == "failed"', "-objective") == []
    with pytest.raises(QueryError):
        select([], "lr > 1")


# --- records ---------------------------------------------------------------------------------------------------


def _view() -> RunView:
    attempts = [
        AttemptView(attempt=1, agent="a1", host="n1", started_s=100.0, ended_s=110.25, outcome="lost", reason="agent lost"),
        AttemptView(
            attempt=2, agent="a2", host="n2", slot=3, gpus=("GPU-1", "GPU-2"), command=("python", "t.py"), folder="/r/2",
            started_s=200.0, ended_s=205.0, outcome="completed", exit_code=0,
        ),
    ]  # fmt: skip
    return run_view(
        4, {"a": {"x": math.inf}, "t": (1, 2)}, "completed", 0.5, attempts=attempts, summary={"acc": math.nan, "n": {"k": -math.inf}}
    )  # fmt: skip


def test_a_record_has_every_promised_field_as_plain_json() -> None:
    found = record(_view())
    promised = (
        "id trial replicate attempt state reason config seed objective summary host slot gpus started ended duration_s "
        "exit_code error_class command folder attempts"
    )
    assert set(promised.split()) <= set(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["id"] == "swp1-4"
    assert found["config"] == {"a": {"x": "inf"}, "t": [1, 2]}
    assert found["summary"] == {"acc": "nan", "n": {"k": "-inf"}}
    assert (found["host"], found["slot"], found["gpus"]) == ("n2", 3, ["GPU-1", "GPU-2"])
    assert (found["started"], found["ended"]) == ("1970-01-01T00:01:40.000Z", "1970-01-01T00:03:25.000Z")
    assert found["duration_s"] == 5.0
    assert [(a["attempt"], a["outcome"], a["duration_s"]) for a in found["attempts"]] == [
        (1, "lost", None),
        (2, "completed", 5.0),
    ]


def test_a_run_that_never_started_has_a_record() -> None:
    found = record(RunView(sweep="s", run=1, trial=0, replicate=0, purpose="search", seed=1, config={}))
    assert (found["attempt"], found["host"], found["started"], found["ended"], found["duration_s"]) == (
        0,
        None,
        None,
        None,
        None,
    )
    assert (found["gpus"], found["attempts"]) == ([], [])


def test_a_running_one_lasts_until_now() -> None:
    view = run_view(1, {}, "running")
    assert record(view)["duration_s"] is None
    start_s = view.attempts[0].started_s
    assert start_s is not None
    found = record(view, now_s=start_s + 2.5)
    assert (found["duration_s"], found["ended"], found["attempts"][0]["duration_s"]) == (2.5, None, 2.5)


def test_infinities_in_records_compare_as_numbers() -> None:
    rows = [record(_view())]
    assert len(select(rows, "a.x > 1e300")) == 1
    assert len(select(rows, "a.x == inf")) == 1
    assert len(select(rows, "summary.acc < 1 or summary.acc >= 1")) == 0


def test_csv_has_a_column_per_leaf_and_reads_back() -> None:
    rows = [*_records(), record(_view())]
    table = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [line["run"] for line in table] == ["1", "2", "3", "4"]
    assert table[0]["config.optimizer.name"] == "adam"
    assert table[0]["summary.val/acc"] == "0.9"
    assert table[1]["objective"] == ""
    assert table[1]["reason"] == "exit code 1: CUDA out of memory"
    assert table[3]["config.a.x"] == "inf"
    assert table[3]["config.lr"] == ""
    assert json.loads(table[3]["gpus"]) == ["GPU-1", "GPU-2"]
    names = list(table[0])
    assert "attempts" not in names
    first_config = next(i for i, name in enumerate(names) if name.startswith("config."))
    first_summary = next(i for i, name in enumerate(names) if name.startswith("summary."))
    assert names[0] == "id" and first_config < first_summary
    assert all(name.startswith("summary.") for name in names[first_summary:])


def test_csv_of_nothing_is_an_empty_header() -> None:
    assert to_csv([]) == "\n"


def _odd_views() -> list[RunView]:
    """Runs whose values are of every kind: nested, not finite, missing, to be escaped, never started."""
    attempt = AttemptView(
        attempt=1, agent="a", command=("sh", "-c", 'echo "a,b"\n'), started_s=1.0, ended_s=2.5
    )
    return [
        run_view(0, {"lr": 0.1, "opt": {"name": "a,b"}}, "completed", 0.5, summary={"x": math.nan, "s": "q"}),
        run_view(1, {"lr": 1, "opt": {}}, "failed", None, reason='exit "code" 1,\n2'),
        run_view(2, {"lr": None, "layers": [1, 2], "on": True}, "queued", math.inf),
        RunView(
            sweep="s",
            run=3,
            trial=3,
            replicate=0,
            purpose="search",
            seed=1,
            config={"lr": 0.01},
            attempts=[attempt],
        ),
    ]


_WHERE_AND_SORT = [
    (None, None),
    ("lr < 0.5", None),
    ("opt.name == 'a,b' or duration_s > 1", "-lr"),
    (None, "summary.x"),
    ('state != "queued"', "command"),
    ("1 == 1", None),
]


@pytest.mark.parametrize("count", range(5))
@pytest.mark.parametrize(("where", "sort"), _WHERE_AND_SORT)
def test_runs_are_selected_as_their_records_are(count: int, where: str | None, sort: str | None) -> None:
    views = _odd_views()[:count]

    def outcome(choose: Any, numbers: Any) -> list[int] | str:
        try:
            return [numbers(one) for one in choose()]
        except QueryError as error:
            return str(error)

    of_records = outcome(lambda: select(records(views, 9.0), where, sort), lambda row: row["run"])
    assert of_records == outcome(lambda: select_runs(views, where, sort, 9.0), lambda run: run.run)


@pytest.mark.parametrize("count", range(5))
def test_runs_are_the_same_csv_as_their_records(count: int) -> None:
    views = _odd_views()[:count]
    assert runs_to_csv(views, 9.0) == to_csv(records(views, 9.0))


def test_runs_are_the_same_json_as_their_records() -> None:
    used = AttemptView(attempt=1, agent="a", started_s=1.0, usage=Usage(memory_bytes=5), cpu_s=0.5)
    again = AttemptView(attempt=2, agent="b", started_s=3.0, ended_s=4.0, maxrss_bytes=7, gpu_share=0.5)
    views = [*_odd_views(), *_odd_views()]
    views[0].attempts, views[1].attempts, views[4].attempts = [used], [used, again], []
    for now_s in (9.0, None):
        as_records = msgspec.json.encode(records(views, now_s))
        assert msgspec.json.encode(written(views, now_s)) == as_records
        assert msgspec.json.decode(as_records) == records(views, now_s)


_CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_characters="\r")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(st.tuples(_CELLS, st.lists(st.text('ab", \n\\')), st.text(',"\nx')), min_size=1))
def test_csv_is_what_pythons_own_writer_writes(lines: list[tuple[Any, ...]]) -> None:
    def cell(item: Any) -> Any:
        if isinstance(item, bool):
            return "true" if item else "false"
        return json.dumps(item, ensure_ascii=False) if isinstance(item, list | dict) else item

    names = ["a", "b,c", 'd"']
    expected = io.StringIO()
    writer = csv.writer(expected, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[cell(item) for item in line] for line in lines])
    assert columns_to_csv(names, [list(column) for column in zip(*lines, strict=True)]) == expected.getvalue()


@pytest.mark.parametrize("parts", [[], [[{"a": 1}]], [[{"a": 1}, {"b": []}], [{"c": "ü"}]]])
def test_a_list_printed_in_parts_is_printed_as_the_whole(
    parts: list[list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    print_json([item for part in parts for item in part])
    whole = capsys.readouterr().out
    print_json_list(parts)
    assert capsys.readouterr().out == whole


def test_runs_are_printed_by_whatever_the_terminal_can_show(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    views = _odd_views()
    views[0].note, views[1].seed = "ü", 2**70  # more than msgspec writes as JSON
    for utf8 in (True, False):
        monkeypatch.setattr("sweep.cli.common.speaks_utf8", lambda utf8=utf8: utf8)
        print_json(records(views, 9.0))
        whole = capsys.readouterr().out
        print_json_list([written(views[:1], 9.0), written(views[1:], 9.0)])
        assert capsys.readouterr().out == whole
