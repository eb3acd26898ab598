"""Code that comes in parts: a submodule with changes of its own, and a package that is installed in place elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.integration.conftest import Project
from tests.integration.test_reproduce import SPEC, git, state_of, verdict

TRAIN = """
import sys, sweep
sys.path.insert(0, "vendor/lib")
from inner import scale
from outside import offset
run = sweep.init()
for step in range(3):
    run.log({"loss": scale * run.config.x / (step + 1) + offset})
"""


def repository(folder: Path, file: str, text: str) -> Path:
    folder.mkdir()
    (folder / file).write_text(text)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def installed_in_place(site: Path, package: Path) -> None:
    """What pip leaves behind for an editable install, but for the `.pth` file, which only the interpreter's own folders can have."""
    about = site / "outside-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    place = {"url": package.as_uri(), "dir_info": {"editable": True}}
    (about / "direct_url.json").write_text(json.dumps(place))


@pytest.fixture
def parts(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A finished sweep, and the folder of the package."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    library = repository(elsewhere / "library", "inner.py", "scale = 1.0\n")
    package = repository(elsewhere / "package", "outside.py", "offset = 0.5\n")
    installed_in_place(elsewhere / "site", package)
    before = project.env.get("PYTHONPATH", "")
    project.env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(elsewhere / "site"), str(package), before]))
    project.write(".gitignore", ".sweep\n__pycache__\n")
    git(project.folder, "init", "-q")
    allowed = ("-c", "protocol.file.allow=always")
    git(project.folder, *allowed, "submodule", "--quiet", "add", str(library), "vendor/lib")
    git(project.folder, "add", "-A")
    git(project.folder, "commit", "-qm", "first")
    project.write("vendor/lib/inner.py", "scale = 3.0\n")  # not committed
    project.work_off(SPEC, TRAIN)
    return project, package


def test_a_submodule_is_restored_and_a_package_in_place_is_compared(parts: tuple[Project, Path]) -> None:
    project, package = parts
    shown = project.json("show", "latest-1")
    [module] = shown["code"]["submodules"]
    assert (module["path"], module["dirty"], module["checked_out"]) == ("vendor/lib", True, True)
    assert shown["reproducible"] == {"grade": "reproducible", "lacks": []}

    project.write("vendor/lib/inner.py", "scale = 4.0\n")
    found = verdict(project, "latest-1", code=0)
    assert (found["verdict"], state_of(found, "outside")) == ("identical", "same")

    (package / "outside.py").write_text("offset = 0.25\n")
    found = verdict(project, "latest-1", code=13)
    assert (found["verdict"], state_of(found, "outside")) == ("inconclusive", "changed")


def test_a_package_in_place_that_is_not_whole_is_in_the_grade(parts: tuple[Project, Path]) -> None:
    project, package = parts
    (package / "weights.bin").write_bytes(os.urandom(6_000_000))
    project.write("sweep.yaml", SPEC)
    assert "outside (installed in place): 1 file over 5 MB" in project.run("create", "sweep.yaml").stderr
    project.sweep("agent", "latest")
    assert project.json("show", "latest-0")["reproducible"] == {
        "grade": "partly",
        "lacks": ["files of outside, which is installed in place"],
    }
