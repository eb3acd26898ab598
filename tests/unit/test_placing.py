"""Which folder runs start in on a node that shares the path of the sweep's folder: the same folder, a clone, nothing at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sweep.agents.place import Place, Watched
from sweep.api import create_sweep, load_views
from sweep.api.placing import NoPlace, find_place
from sweep.core.rows import Views
from sweep.provenance.tree import parse_manifest
from sweep.spec import parse
from sweep.stores.sqlite import SqliteStore

SPEC = "program: train.py\nmethod: grid\nparameters: {x: {values: [1, 2]}}\n"


class Lab:
    def __init__(self, top: Path) -> None:
        self.top, self.folder = top, top / "project"
        self.folder.mkdir()
        (self.folder / "train.py").write_text("print(1)\n")
        (self.folder / "more.py").write_text("")
        self.store = SqliteStore(top / "store" / "store.db", create=True)
        self.said: list[str] = []
        self.watched: Watched | None = None

    def created(self, more: str = "") -> Views:
        """A sweep as another machine sees that created none of it."""
        text = SPEC + more
        (self.folder / "sweep.yaml").write_text(text)
        spec = parse(text, draw_seed=lambda: 1).spec
        path = self.folder / "sweep.yaml"
        made = create_sweep(self.store, spec, text, path, cwd=self.folder, environ={}, argv=[])
        views = load_views(self.store, made.sweep)
        views.created.record["created_by"]["host"] = "somewhere-else"
        return views

    def place(self, views: Views, cwd: Path | None = None, **links: str) -> Place:
        root, at = self.top / "node", cwd or self.top
        found = find_place(
            self.store, views, root=root, cwd=at, environ={}, links=links, say=self.said.append
        )
        self.watched = found.watched
        return replace(found, watched=None)

    def place_again(self) -> Place:
        """What an agent does that finds the code changed."""
        assert self.watched is not None
        found = self.watched.again()(self.said.append)
        self.watched = found.watched
        return replace(found, watched=None)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path)
    yield found
    found.store.close()


def clone(folder: Path) -> None:
    """As if every machine had its own folder of that path."""
    shutil.copytree(folder, folder.with_name("copy"))
    folder.rename(folder.with_name("was"))
    folder.with_name("copy").rename(folder)


def test_a_folder_that_is_shared_is_used_as_it_is(lab: Lab) -> None:
    views = lab.created()
    assert lab.place(views) == Place(lab.folder, "as it is")
    assert lab.said == []


def test_what_has_been_edited_there_is_recorded_anew(lab: Lab) -> None:
    views = lab.created()
    (lab.folder / "train.py").write_text("print(2)\n")
    (lab.folder / "more.py").unlink()
    place = lab.place(views)
    assert (place.workdir, place.code, place.differs) == (lab.folder, "as it is", ("train.py", "more.py"))
    assert place.now is not None and place.now["tree"] != views.created.record["code"]["tree"]
    assert b"print(2)\n" in place.blobs and len(place.blobs) == 2, "the file and the new list of files"
    [said] = lab.said
    assert "changed since the sweep was created (changed: train.py; gone: more.py)" in said


def test_output_that_has_come_or_grown_is_no_change(lab: Lab) -> None:
    (lab.folder / "old.log").write_text("begun")
    views = lab.created()
    (lab.folder / "agent-0.log").write_text("at work")
    (lab.folder / "results.csv").write_text("1,2")
    (lab.folder / "model.pt").write_bytes(b"x" * 5_000_001)
    (lab.folder / "old.log").write_text("begun, ended")
    assert lab.place(views) == Place(lab.folder, "as it is")
    assert lab.said == []
    (lab.folder / "helper.py").write_text("")
    place = lab.place(views)
    assert place.differs == ("helper.py",) and place.now is not None
    assert place.now["complete"] and place.now["left_out"] == [] and place.now["warnings"] == []
    names = [file.path for file in parse_manifest(next(b for b in place.blobs if b.startswith(b'{"format"')))]
    assert names == ["helper.py", "more.py", "old.log", "sweep.yaml", "train.py"]


def test_a_changed_executable_bit_is_a_change(lab: Lab) -> None:
    views = lab.created()
    (lab.folder / "train.py").chmod(0o755)
    place = lab.place(views)
    assert place.differs == ("train.py",) and place.now is not None
    assert "(changed: train.py)" in lab.said[0]


def test_what_is_edited_while_runs_start_there_is_recorded_when_it_is_seen(lab: Lab) -> None:
    views = lab.created()
    lab.place(views)
    assert lab.watched is not None and lab.watched.watch.look() == []
    (lab.folder / "train.py").write_text("print(2)\n")
    assert lab.watched.watch.look() == ["train.py"]
    place = lab.place_again()
    assert place.differs == ("train.py",) and b"print(2)\n" in place.blobs
    assert "(changed: train.py)" in lab.said[0]
    (lab.folder / "train.py").write_text("print(1)\n")
    assert lab.place_again() == Place(lab.folder, "as it is")
    assert lab.said[1:] == [f"the code in {lab.folder} is again as it was recorded"]


def test_a_checkout_that_is_edited_gives_way_to_the_recorded_code(lab: Lab) -> None:
    views = lab.created("code: snapshot\nlinks: [data]\n")
    (lab.folder / "data").mkdir()
    assert lab.place(views) == Place(lab.folder, "same")
    (lab.folder / "train.py").write_text("print(2)\n")
    place = lab.place_again()
    assert place.code == "unpacked" and (place.workdir / "train.py").read_text() == "print(1)\n"
    assert (place.workdir / "data").samefile(lab.folder / "data") and lab.watched is None


def test_a_clone_at_the_same_path_is_looked_at(lab: Lab) -> None:
    views = lab.created()
    clone(lab.folder)
    assert lab.place(views) == Place(lab.folder, "same")
    (lab.folder / "train.py").write_text("print(2)\n")
    (lab.folder / "more.py").unlink()
    place = lab.place(views)
    assert place.code == "unpacked" and place.workdir.parent == lab.top / "node" / "code"
    assert (place.workdir / "train.py").read_text() == "print(1)\n"
    assert (
        f"the code in {lab.folder} is not the recorded one (changed: train.py; gone: more.py)" in lab.said[0]
    )


def test_some_other_project_is_no_checkout(lab: Lab) -> None:
    """And is not spoken of, wherever an agent was started."""
    views = lab.created()
    shutil.rmtree(lab.folder)
    other = lab.top / "other"
    other.mkdir()
    (other / "train.py").write_text("something else")
    place = lab.place(views, other)
    assert place.code == "unpacked" and len(lab.said) == 1
    with pytest.raises(NoPlace, match="there is no checkout of the code"):
        lab.place(lab_local(lab, views), other)


def lab_local(lab: Lab, views: Views) -> Views:
    lab.folder.mkdir()
    (lab.folder / "train.py").write_text("print(1)\n")
    (lab.folder / "more.py").write_text("")
    found = lab.created("code: local\n")
    shutil.rmtree(lab.folder)
    return found


def test_files_that_were_too_large_to_record_are_named(lab: Lab) -> None:
    (lab.folder / "weights.bin").write_bytes(b"x" * 5_000_001)
    (lab.folder / ".env").write_text("X=1")
    views = lab.created()
    shutil.rmtree(lab.folder)
    lab.place(views)
    assert "the recorded code lacks weights.bin: too large" in lab.said[0]
    assert ".env" not in lab.said[0]


def test_links_in_a_checkout_must_lead_where_they_should(lab: Lab) -> None:
    views = lab.created("links: [data]\n")
    data = lab.top / "data"
    data.mkdir()
    clone(lab.folder)
    with pytest.raises(NoPlace, match="--link data=/where/it/is"):
        lab.place(views)
    (lab.folder / "data").symlink_to(data)
    assert lab.place(views).code == "same"
    assert lab.place(views, data=str(data)).code == "same"
    other = lab.top / "other"
    other.mkdir()
    place = lab.place(views, data=str(other))
    assert place.code == "unpacked" and (place.workdir / "data").readlink() == other


def test_in_the_folder_itself_nothing_is_put_for_anybody(lab: Lab) -> None:
    views = lab.created("links: [data]\n")
    data = lab.top / "data"
    data.mkdir()
    with pytest.raises(NoPlace, match=f"ln -s /where/it/is {lab.folder}/data"):
        lab.place(views)
    with pytest.raises(NoPlace, match=f"ln -s {data} {lab.folder}/data"):
        lab.place(views, data=str(data))
    (lab.folder / "data").mkdir()
    assert lab.place(views).workdir == lab.folder
    with pytest.raises(NoPlace, match="is something else"):
        lab.place(views, data=str(data))
    assert list((lab.folder / "data").iterdir()) == []


def test_a_record_that_is_not_whole_is_said_and_nothing_runs(lab: Lab) -> None:
    views = lab.created()
    lab.store.delete_blobs(lab.store.blobs().keys() - {views.created.record["code"]["tree"]})
    shutil.rmtree(lab.folder)
    with pytest.raises(NoPlace, match=r"cannot be unpacked: .* is missing: the store has no blob"):
        lab.place(views)
    lab.store.delete_blobs(lab.store.blobs().keys())
    with pytest.raises(NoPlace, match="cannot be unpacked: the store has no blob"):
        lab.place(views)
