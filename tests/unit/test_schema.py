"""The JSON Schema that `sweep schema` prints: what is valid is valid by it, and what editors should mark is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sweep.cli.main import UserMistake
from sweep.cli.schema import schema_command
from sweep.spec import SpecError, json_schema, parse
from sweep.spec.reference import EXAMPLE

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "sweeps").rglob("*.y*ml"))


class AnEditor(yaml.SafeLoader):
    """Reads numbers as YAML 1.2 does, and so the language servers of editors: `1e-3` is one."""


AnEditor.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
AnEditor.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def problems(text: str) -> list[str]:
    checker = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in checker.iter_errors(yaml.load(text, AnEditor))]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_the_examples_are_valid_by_it(file: Path) -> None:
    assert problems(file.read_text("utf-8")) == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3


def test_the_example_of_the_reference_is_valid_by_it() -> None:
    assert problems(EXAMPLE) == []


@pytest.mark.parametrize(
    ("line", "replacement"),
    [
        ("method: bayes", "method: bayesian"),
        ("method: bayes", "metod: bayes"),
        ("run_cap: 50", "run_cap: many"),
        ("  goal: minimize", "  goal: down"),
        ("    min: 0.0", "    minimum: 0.0"),
        ("  run_time: 2h", "  run_time: [2]"),
        ("parameters:", "parametres:"),
    ],
)
def test_it_marks_mistakes(line: str, replacement: str) -> None:
    assert line in EXAMPLE
    text = EXAMPLE.replace(line, replacement, 1)
    assert problems(text)
    with pytest.raises(SpecError):
        parse(text, draw_seed=lambda: 1)


def run(*args: str) -> None:
    schema_command.main(list(args), standalone_mode=False)


def test_it_is_printed_or_written_with_the_line_that_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run()
    said = capsys.readouterr()
    found: dict[str, Any] = json.loads(said.out)
    assert found == json_schema()
    assert said.err.endswith("# yaml-language-server: $schema=sweep.schema.json\n")
    run("-o", "my.json")
    assert json.loads((tmp_path / "my.json").read_text()) == found
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines()[1] == "# yaml-language-server: $schema=my.json"
    with pytest.raises(UserMistake, match=r"cannot write missing/x.json: No such file"):
        run("-o", "missing/x.json")
