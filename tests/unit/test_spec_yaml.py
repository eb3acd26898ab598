"""YAML as such: positions, anchors, what is refused, and files that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from sweep.core.space import Categorical, Constant
from sweep.spec import SpecError, load, parse

HEAD = "method: random\nprogram: t.py\nparameters:\n"


def errors(text: str | bytes) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, draw_seed=lambda: 1)
    return str(caught.value).split("\n")


def value(text: str) -> object:
    parsed = parse(HEAD + f"  p: {{value: {text}}}\n", draw_seed=lambda: 1)
    distribution = parsed.spec.space.parameters[0].distribution
    assert isinstance(distribution, Constant)
    return distribution.value


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("1_000", 1000),
        ("010", 8),
        ("0x10", 16),
        ("0b11", 3),
        ("1:30", 90),
        ("1e-4", "1e-4"),
        ("1.0e-4", 1e-4),
        ("1.e+4", 1e4),
        (".inf", float("inf")),
        ("yes", True),
        ("off", False),
        ("y", "y"),
        ("~", None),
        ("null", None),
        ("2020-01-02", "2020-01-02"),
        ("2020-01-02 03:04:05", "2020-01-02 03:04:05"),
        ("=", "="),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("!!float 1", 1.0),
        ("!!int '3'", 3),
        ("'<<'", "<<"),
        ("{a: [1, {b: null}]}", {"a": [1, {"b": None}]}),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_values_are_yaml_1_1_as_pyyaml_has_them(written: str, expected: object) -> None:
    found = value(written)
    assert found == expected
    assert type(found) is type(expected)


BROKEN: list[tuple[str, str]] = [
    ("a: [1,\nb: 2", "3:1: this is not YAML: a `[` is not closed, or a comma is missing"),
    ("a: {b: 1", "2:1: this is not YAML: a `{` is not closed, or a comma is missing"),
    (
        "a: b: c",
        "1:5: this is not YAML: a second `: ` on the line, a line that is indented too far, or a key above that lacks its `:`; "
        "a text with `: ` in it needs quotes",
    ),
    (
        "a:\n\t- b",
        "2:1: this is not YAML: no value can begin with this character; write the text in quotes, "
        "and indent with spaces, not tabs",
    ),
    (
        "a: @x",
        "1:4: this is not YAML: no value can begin with this character; write the text in quotes, "
        "and indent with spaces, not tabs",
    ),
    ("a: 'x", "1:6: this is not YAML: a quote or a bracket is not closed"),
    (
        "a:\n  - b\n c: 1",
        "3:2: this is not YAML: this line does not fit the lines above: check its indentation, and brackets and quotes",
    ),
    ("- a\nb: c", "2:1: this is not YAML: this line does not fit the list above: check its indentation"),
    (
        'a: "\\q"',
        "1:5: this is not YAML: an escape that YAML does not know; write a backslash twice, or use single quotes",
    ),
    (
        "a: 1\nb\nc: 2",
        "3:1: this is not YAML: the line above is not `key: value`: a `:` is missing after the key",
    ),
    ("a: !e!x y", "1:4: this is not YAML: a text that begins with `!` needs quotes"),
    ("a: \x01", "1:4: the character U+0001 is not allowed in a YAML file"),
    ("a:\n  b: \x7f", "2:6: the character U+007F is not allowed in a YAML file"),
    ("a: \ud800", "1:4: the character U+D800 is not allowed in a YAML file"),
    ("a: 1\n---\nb: 2", "2:1: a second document begins here (`---`); a sweep file holds one"),
    ("a: *x", "1:4: the alias `*x` has no anchor `&x` before it"),
    ("a: &x [*x]", "1:8: the alias `*x` stands inside of what it names"),
    ("a: &x {b: {c: *x}}", "1:15: the alias `*x` stands inside of what it names"),
    ("[" * 101, "1:101: nested more than 100 deep"),
]


@pytest.mark.parametrize(("text", "expected"), BROKEN)
def test_what_is_not_yaml(text: str, expected: str) -> None:
    assert errors(text) == [f"sweep.yaml:{expected}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("!!python/object/apply:os.system ['x']", "the tag `!!python/object/apply:os.system`"),
        ("!!python/name:os.system x", "the tag `!!python/name:os.system`"),
        ("!!binary aGk=", "the tag `!!binary`"),
        ("!!set {a, b}", "the tag `!!set`"),
        ("!mine x", "the tag `!mine`"),
        ("!!str [1]", "the tag `!!str`"),
    ],
)
def test_tags_construct_nothing(text: str, expected: str) -> None:
    (found,) = errors(f"{HEAD}  p:\n    value: {text}\n")
    assert found == (
        f"sweep.yaml:5:12 parameters.p.value: {expected} is not allowed: values are plain data; "
        "a text that begins with `!` needs quotes"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("!!int x", "this cannot be read as a whole number; if it is text, write it in quotes"),
        ("!!int ''", "this cannot be read as a whole number; if it is text, write it in quotes"),
        ("!!float x", "this cannot be read as a number; if it is text, write it in quotes"),
        ("!!bool x", "this cannot be read as true or false; if it is text, write it in quotes"),
        ("0x_", "this cannot be read as a whole number; if it is text, write it in quotes"),
        ("9" * 5000, "this cannot be read as a whole number; if it is text, write it in quotes"),
        (
            "18446744073709551616",
            "this whole number needs more than 64 bits; write it with a decimal point (1.0e+20), or in quotes as text",
        ),
        ('"a\\0b"', "a text cannot hold a NUL character: no command line can carry it"),
    ],
)
def test_values_that_nothing_could_carry(text: str, expected: str) -> None:
    assert errors(f"{HEAD}  p: {{value: {text}}}\n") == [f"sweep.yaml:4:14 parameters.p.value: {expected}"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("on: {value: 1}", "parameters.on: YAML reads the key `on` as true, and a key must be text; write it in quotes: 'on'"),
        ("null: {value: 1}", "parameters.null: YAML reads the key `null` as null, and a key must be text; write it in quotes: 'null'"),
        ("12: {value: 1}", "parameters.12: YAML reads the key `12` as a number, and a key must be text; write it in quotes: '12'"),
        ("[a]: {value: 1}", "parameters: a key must be text, not a list; a text with `{` or `[` in front needs quotes"),
        ("? {a: 1}\n  : {value: 1}", "parameters: a key must be text, not a mapping; a text with `{` or `[` in front needs quotes"),
    ],
)  # fmt: skip
def test_keys_that_are_no_text(line: str, expected: str) -> None:
    found = errors(f"{HEAD}  q: {{value: 1}}\n  {line}\n")
    assert [one.split(" ", 1)[1] for one in found] == [expected]


def test_a_key_given_twice_names_both_lines() -> None:
    assert errors(f"{HEAD}  p: {{value: 1, value: 2}}\n  p: {{value: 3}}\nmethod: grid\n") == [
        "sweep.yaml:4:17 parameters.p.value: given twice (first in line 4)",
        "sweep.yaml:5:3 parameters.p: given twice (first in line 4)",
        "sweep.yaml:6:1 method: given twice (first in line 1)",
    ]


def test_merge_keys() -> None:
    text = (
        "method: random\nprogram: t.py\nparameters:\n"
        "  a: &a {values: [1, 2]}\n"
        "  b: &b {values: [3], distribution: categorical}\n"
        "  own: {<<: *a, values: [9]}\n"
        "  first: {<<: [*a, *b]}\n"
        "  second: {<<: [*b, *a]}\n"
    )
    spec = parse(text, draw_seed=lambda: 1).spec
    assert [parameter.distribution for parameter in spec.space.parameters] == [
        Categorical((1, 2)),
        Categorical((3,)),
        Categorical((9,)),
        Categorical((1, 2)),
        Categorical((3,)),
    ]


def test_wrong_merge_keys() -> None:
    assert errors(
        f"{HEAD}  a: &a [1]\n  b: {{<<: *a, value: 1}}\n  c: {{<<: {{}}, <<: {{}}, value: 1}}\n"
    ) == [
        "sweep.yaml:4:3 parameters.a: must be a mapping, not a list; write `a: {values: […]}`",
        "sweep.yaml:5:6 parameters.b.<<: only mappings can be merged in with `<<`",
        "sweep.yaml:6:15 parameters.c.<<: given twice; write one `<<: [*a, *b]`",
    ]


def test_a_problem_in_a_merged_key_is_shown_where_it_was_written() -> None:
    found = errors(f"{HEAD}  a: &a {{min: 1, max: x}}\n  b: {{<<: *a, max: 3}}\n")
    assert found == ["sweep.yaml:4:18 parameters.a.max: must be a number, not 'x'"]


def test_aliases_cannot_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (found,) = errors("\n".join(lines))
    assert found.endswith("with its aliases expanded, the file has more than 200,000 values")


def test_merges_cannot_blow_up() -> None:
    keys = ", ".join(f"k{i}: 1" for i in range(2000))
    text = f"a: &a {{{keys}}}\n" + "".join(f"b{i}: {{<<: *a}}\n" for i in range(600))
    (found,) = errors(text)
    assert found.endswith("the file has more than 200,000 values")


def test_aliases_cannot_nest_too_deeply() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200))
    (found,) = errors(text)
    assert found.endswith("with its aliases expanded, the file is nested more than 100 deep")


def test_the_parser_in_python_gives_the_same_where_libyaml_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = f"{HEAD}  p: {{values: [1, 1e-4, '1e-5', !!str 3]}}\n  q: &q {{min: 0.0, max: 1}}\n  r: *q\n"
    fast = parse(text, draw_seed=lambda: 1)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    slow = parse(text, draw_seed=lambda: 1)
    assert slow == fast
    assert len(slow.warnings) == 1
    for broken, expected in BROKEN:
        words = expected.split(": ", 1)[1]
        assert errors(broken)[0].split(": ", 1)[1] == words


def test_a_byte_order_mark_and_windows_lines() -> None:
    text = b"\xef\xbb\xbf" + (HEAD + "  p: {value: x}\n").replace("\n", "\r\n").encode()
    assert parse(text, draw_seed=lambda: 1).spec.space.parameters[0].distribution == Constant("x")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: caf\xe9\n", "sweep.yaml:2:7: this is not UTF-8 text (byte 0xe9); save it as UTF-8"),
        ("a: 1".encode("utf-16"), "sweep.yaml:1:1: this is not UTF-8 text (it is UTF-16); save it as UTF-8"),
        (b"a" * 10_000_001, "sweep.yaml:1:1: this is larger than 10 MB, and cannot be meant as a sweep file"),
    ],
)
def test_bytes_that_are_no_sweep_file(data: bytes, expected: str) -> None:
    assert errors(data) == [expected]


# --- files -----------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load(path, lambda: 1)
    return str(caught.value)


def test_a_file_is_read_and_named_in_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(HEAD + "  p: {value: ä}\n", encoding="utf-8")
    parsed = load(path, lambda: 5)
    assert parsed.spec.seed == 5
    assert parsed.source == path.read_text(encoding="utf-8")
    path.write_text(HEAD + "  p: 3\n", encoding="utf-8")
    assert refusal(path).startswith(f"{path}:4:3 parameters.p: ")


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "sweep.yaml") == f"{tmp_path / 'sweep.yaml'}: there is no such file"
    (tmp_path / "sweep.yml").touch()
    assert refusal(tmp_path / "sweep.yaml").endswith(
        f"there is no such file; did you mean {tmp_path / 'sweep.yml'}?"
    )
    assert refusal(tmp_path / "q.x").endswith("there is no such file; the folder has sweep.yml")
    missing = tmp_path / "no" / "sweep.yaml"
    assert refusal(missing).endswith(f"there is no such file; the folder {missing.parent} cannot be listed")


def test_a_folder(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path)
        == f"{tmp_path}: this is a folder; name the file in it, such as {tmp_path / 'sweep.yaml'}"
    )


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert "this file cannot be read: " in refusal(tmp_path / ("x" * 5000))
    assert "this file cannot be read: " in refusal(tmp_path / "a\0b")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.touch(mode=0o000)
    assert refusal(path) == f"{path}: this file may not be read; check its permissions"


def test_an_empty_and_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.touch()
    assert refusal(path) == f"{path}:1:1: the file is empty; a sweep needs at least `method` and `parameters`"
    path.write_bytes(b"#" * 10_000_001)
    assert refusal(path) == f"{path}:1:1: this is larger than 10 MB, and cannot be meant as a sweep file"
