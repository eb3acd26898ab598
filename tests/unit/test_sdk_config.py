"""The run's config and summary as objects."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from sweep.sdk import Config, Summary
from sweep.sdk._config import merge, to_config


def config() -> Config:
    return to_config({"lr": 0.1, "model": {"depth": 3, "act": {"name": "relu"}}, "items": 5, "sizes": [1, 2]})


def test_attributes_and_items_reach_nested_maps() -> None:
    c = config()
    assert c.lr == c["lr"] == 0.1
    assert c.model.act.name == c["model"]["act"]["name"] == "relu"
    assert c.get("lr") == 0.1
    assert c.get("missing") is None
    assert c.get("missing", 4) == 4
    assert list(c) == ["lr", "model", "items", "sizes"]
    assert "lr" in c
    assert len(c) == 4
    assert dict(**c)["lr"] == 0.1


def test_a_key_that_is_a_method_is_reached_as_an_item() -> None:
    assert config()["items"] == 5
    assert dict(config().items())["lr"] == 0.1


def test_a_missing_key_names_those_that_exist() -> None:
    with pytest.raises(AttributeError, match=r"'epochs' is not in the config, which has: lr, model"):
        config().epochs  # noqa: B018
    with pytest.raises(KeyError, match="which has: depth, act"):
        config().model["width"]
    assert not hasattr(config(), "epochs")


def test_it_is_read_only() -> None:
    c = config()
    changes: list[Callable[[], object]] = [
        lambda: c.__setitem__("lr", 1),
        lambda: setattr(c, "lr", 1),
        lambda: c.update(lr=1),
        lambda: c.pop("lr"),
        lambda: c.setdefault("x", 1),
        lambda: c.__delitem__("lr"),
        c.clear,
        lambda: c.__ior__({"lr": 1}),
        lambda: setattr(c.model, "depth", 9),
    ]
    for change in changes:
        with pytest.raises(TypeError, match=r"read-only.*sweep\.init\(config="):
            change()
    assert c == config()


def test_copies_can_be_changed() -> None:
    c = config()
    plain = c.as_dict()
    assert type(plain["model"]["act"]) is dict
    plain["model"]["act"]["name"] = "x"
    plain["sizes"].append(3)
    assert c == config()


def test_it_is_a_dict_to_everybody_else() -> None:
    c = config()
    assert json.loads(json.dumps(c)) == c
    for again in (pickle.loads(pickle.dumps(c)), copy.copy(c), copy.deepcopy(c)):
        assert type(again) is Config
        assert again == c
        assert again.model.depth == 3


def test_chosen_values_win_map_by_map() -> None:
    merged, filled = merge(
        {"lr": 0.5, "model": {"depth": 9}, "data": "a", "none": None},
        {"lr": 0.1, "epochs": 3, "model": {"depth": 1, "width": 2}, "data": {"path": "p"}, "none": 1, 5: 6},
    )
    assert merged == {
        "lr": 0.5,
        "model": {"depth": 9, "width": 2},
        "data": "a",
        "none": None,
        "epochs": 3,
        "5": 6,
    }
    assert filled == {"epochs": 3, "model": {"width": 2}, "5": 6}


def test_summary_flattens_and_reports_each_change() -> None:
    changes: list[dict[str, Any]] = []
    summary = Summary(changes.append)
    summary["test"] = {"accuracy": 0.5, "by": {"class": 1}}
    summary.update({"a": 1, "b": "x"})
    summary["a"] = 2
    assert changes == [{"test/accuracy": 0.5, "test/by/class": 1}, {"a": 1, "b": "x"}, {"a": 2}]
    assert summary.as_dict() == dict(summary)
    assert summary["a"] == summary.get("a") == 2
    assert summary.get("nothing", 7) == 7
    assert "test/accuracy" in summary
    assert len(summary) == 4
    with pytest.raises(TypeError, match="takes a mapping"):
        summary.update([("a", 1)])  # type: ignore[arg-type]
