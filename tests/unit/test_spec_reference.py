"""The reference page and the JSON schema follow the models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweep.spec import json_schema, parse, reference_markdown
from sweep.spec._early import KEYS_OF_RULE
from sweep.spec._models import DISTRIBUTIONS, GROUPS, SweepFile
from sweep.spec.reference import EXAMPLE

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "spec.md"


def test_the_committed_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_markdown(), (
        "run: python -m sweep.spec.reference > docs/reference/spec.md"
    )


def test_the_page_has_every_key_and_every_distribution() -> None:
    page = reference_markdown()
    for model in (SweepFile, *GROUPS.values(), *(model for model, _ in DISTRIBUTIONS.values())):
        for key in model.model_fields:
            assert f"`{key}`" in page or key == "distribution"
    for name in DISTRIBUTIONS:
        assert f"| `{name}` |" in page


def test_rows_have_as_many_cells_as_their_header() -> None:
    width = 0
    for line in reference_markdown().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (width and cells) or cells == width, line
        width = cells


def test_the_example_is_valid_and_has_no_warnings() -> None:
    parsed = parse(EXAMPLE, draw_seed=lambda: 1)
    assert parsed.warnings == ()
    assert EXAMPLE in reference_markdown()


def _rule_with(key: str) -> dict[str, object]:
    """A rule that has this key."""
    rule = next((rule for rule, keys in KEYS_OF_RULE.items() if key in keys), "hyperband")
    needed = {"hyperband": {"s": 1, "min_iter": 1}, "threshold": {"threshold": 0}}
    return {"type": rule, **needed.get(rule, {})}


EXAMPLES = [
    (group, key, example)
    for group, model in [("", SweepFile), *GROUPS.items()]
    for key, field in model.model_fields.items()
    for example in field.examples or []
]


@pytest.mark.parametrize(("group", "key", "example"), EXAMPLES)
def test_every_example_is_accepted(group: str, key: str, example: object) -> None:
    import yaml

    content: dict[str, object] = {
        "method": "bayes",
        "program": "t.py",
        "metric": {"name": "l"},
        "parameters": {
            "p": {"value": 1},
            "batch_size": {"value": 16},
            "accum": {"value": 2},
            "lr": {"value": 0.1},
        },
    }
    if group:
        content[group] = {
            **({"name": "l"} if group == "metric" else {}),
            **(_rule_with(key) if group == "early_terminate" else {}),
            key: example,
        }
    else:
        content[key] = example
    assert parse(yaml.safe_dump(content), draw_seed=lambda: 1).spec


def test_the_json_schema_knows_the_file() -> None:
    schema = json_schema()
    assert schema["required"] == ["method", "parameters"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(SweepFile.model_fields)
    options = schema["properties"]["parameters"]["additionalProperties"]["anyOf"]
    named = {option["$ref"].rsplit("/", 1)[1] for option in options}
    assert {model.__name__ for model, _ in DISTRIBUTIONS.values()} | {"NestedParameter"} == named
    assert (
        schema["$defs"]["NestedParameter"]["properties"]["parameters"]["additionalProperties"]["anyOf"]
        == options
    )
    assert schema["properties"]["seed"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
