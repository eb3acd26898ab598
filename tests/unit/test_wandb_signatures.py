"""The stand-in takes every parameter that the real wandb takes. The real package is imported in these tests only."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sweep.sdk.wandb import _names, _settings
from sweep.sdk.wandb._about import About
from sweep.sdk.wandb._run import Run

REAL = """
import inspect, json, sys
import wandb
from wandb.sdk.wandb_run import Run
from wandb.sdk.wandb_summary import Summary
from wandb.sdk.wandb_metric import Metric

def parameters(function):
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, p.kind.name, p.default is not p.empty] for p in found if p.name not in ("self", "cls") and "VAR" not in p.kind.name]

def methods(kind):
    found = {}
    for name in dir(kind):
        if not name.startswith("_"):
            value = inspect.getattr_static(kind, name)
            value = getattr(value, "__func__", value)
            found[name] = parameters(value) if callable(value) else None
    return found

names = [n for n in dir(wandb) if not n.startswith("_")] + ["Api"]
classes = ("Image Video Audio Html Table EvalTable Object3D Molecule Histogram Plotly Graph Classes JoinedTable Artifact "
           "Config").split()
json.dump({
    "names": names,
    "all": list(wandb.__all__),
    "functions": {n: parameters(getattr(wandb, n)) for n in names if inspect.isfunction(getattr(wandb, n))},
    "classes": {n: {"init": parameters(getattr(wandb, n)), **methods(getattr(wandb, n))} for n in classes},
    "Run": methods(Run),
    "Summary": methods(Summary),
    "plot": {n: parameters(getattr(wandb.plot, n)) for n in dir(wandb.plot) if inspect.isfunction(getattr(wandb.plot, n))},
    "settings": list(wandb.Settings.model_fields),
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the installed wandb says about itself, asked in a process of its own."""
    import json

    pytest.importorskip("wandb", reason="the real wandb is not installed")
    folder = tmp_path_factory.mktemp("real")
    done = subprocess.run(
        [sys.executable, "-c", REAL], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def takes(function: Callable[..., Any], wanted: list[list[Any]]) -> list[str]:
    """The parameters of `wanted` that `function` does not take, by name or by place."""
    own = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in own.values())
    missing = [
        name for name, kind, _ in wanted if name not in own and not (open_ended and kind != "POSITIONAL_ONLY")
    ]
    required = [
        p.name
        for p in own.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"
    ]
    optional = {name for name, _, has_default in wanted if has_default}
    return missing + [f"{name} is required" for name in required if name in optional]


def ours(name: str) -> Any:
    return _names.attribute(name)


def test_every_public_name_is_there_or_left_out_on_purpose(real: Any) -> None:
    left_out = {
        *(
            "analytics",
            "annotations",
            "catboost",
            "gym",
            "helper",
            "jupyter",
            "profiler",
            "sacred",
            "tensorboard",
        ),
        *("proto", "tensorflow", "trigger", "wandb", "wandb_agent", "wandb_lib", "wandb_sdk", "wandb_torch"),
    }
    known = {*_names.public(), "api"}
    assert {name for name in real["names"] if name not in known} <= left_out
    assert {name for name in real["all"] if name not in known} == set()


def test_functions_take_every_parameter_of_the_real_ones(real: Any) -> None:
    names = [name for name in real["functions"] if name in _names.HOME]
    assert len(names) > 20
    lacking = {name: takes(ours(name), real["functions"][name]) for name in names}
    assert {name: missing for name, missing in lacking.items() if missing} == {}


def test_functions_take_them_in_the_same_order(real: Any) -> None:
    for name in ("init", "log", "define_metric", "save", "alert", "watch", "sweep", "agent", "log_artifact"):
        wanted = [parameter for parameter, _, _ in real["functions"][name]]
        own = [p.name for p in inspect.signature(ours(name)).parameters.values() if p.name != "self"]
        assert own[: len(wanted)] == wanted, name


def test_a_run_has_every_member_of_the_real_one(real: Any) -> None:
    lacking: dict[str, Any] = {}
    for name, parameters in real["Run"].items():
        found = inspect.getattr_static(Run, name, None) or inspect.getattr_static(About, name, None)
        if found is None and name not in ("config", "summary", "start_time", "resumed", "starting_step"):
            lacking[name] = "not there"
        elif parameters is not None and (missing := takes(getattr(Run, name), parameters)):
            lacking[name] = missing
    assert lacking == {}


def test_classes_take_every_parameter_and_have_every_method_that_scripts_call(real: Any) -> None:
    inner = {
        # how wandb stores and serializes its values: not for scripts
        *(
            "bind_to_run",
            "captions",
            "file_is_set",
            "from_json",
            "get_media_subdir",
            "init_from_json",
            "is_bound",
        ),
        *("path_is_reference", "seq_to_json", "to_data_array", "to_json", "type_mapping", "with_suffix"),
        *(
            "all_boxes",
            "all_captions",
            "all_masks",
            "guess_mode",
            "encode",
            "durations",
            "sample_rates",
            "resolve_ref",
        ),
        *("make_plot_media", "inject_head", "from_keras", "pprint", "get_type", "has_been_logged"),
        *("MAX_DIMENSION", "MAX_ITEMS", "SUPPORTED_POINT_CLOUD_TYPES", "SUPPORTED_RDKIT_TYPES", "format"),
        # what the service knows of an artifact
        *(
            "collection",
            "commit_hash",
            "created_at",
            "digest_algorithm",
            "distributed_id",
            "history_step",
            "incremental",
        ),
        *(
            "is_link",
            "linked_artifacts",
            "linked_at",
            "source_artifact",
            "source_collection",
            "source_entity",
        ),
        *("source_project", "source_version", "updated_at"),
        # set on the object
        *(
            "aliases",
            "description",
            "entity",
            "id",
            "metadata",
            "name",
            "project",
            "tags",
            "ttl",
            "type",
            "use_as",
            "version",
        ),
    }
    lacking: dict[str, Any] = {}
    for kind, members in real["classes"].items():
        own = ours(kind)
        for name, parameters in members.items():
            if name == "init":
                missing = takes(own, parameters)
            elif name in inner:
                continue
            elif not hasattr(own, name):
                missing = ["not there"]
            else:
                missing = takes(getattr(own, name), parameters) if parameters is not None else []
            if missing:
                lacking[f"{kind}.{name}"] = missing
    assert lacking == {}


def test_the_summary_has_every_method(real: Any) -> None:
    from sweep.sdk.wandb._summary import Summary

    for name, parameters in real["Summary"].items():
        assert takes(getattr(Summary, name), parameters) == []


def test_plots_take_every_parameter(real: Any) -> None:
    plots = importlib.import_module("sweep.sdk.wandb.plots")
    assert len(real["plot"]) >= 9
    lacking = {name: takes(getattr(plots, name), parameters) for name, parameters in real["plot"].items()}
    assert {name: missing for name, missing in lacking.items() if missing} == {}


def test_settings_take_and_have_every_field(real: Any) -> None:
    settings = _settings.Settings(**dict.fromkeys(real["settings"], 1))
    assert all(getattr(settings, field) == 1 for field in real["settings"])
    assert all(hasattr(_settings.Settings(), field) for field in real["settings"])


def test_libraries_that_ask_for_the_version_are_told_that_of_the_interface() -> None:
    folder = importlib.import_module("sweep.agents.standing_in").FOLDER
    metadata = (folder / f"wandb-{_names.VERSION}.dist-info" / "METADATA").read_text()
    assert f"\nVersion: {_names.VERSION}\n" in metadata
