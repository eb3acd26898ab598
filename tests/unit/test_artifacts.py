"""Artifacts in the pure parts: versions and aliases in the index, lists of files, their digests, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from folded import Lab, make_spec
from sweep.analysis.figures.lineage import svg
from sweep.core import entries as e
from sweep.core.index import rebuild
from sweep.core.rows import decode_artifacts, decode_run, run_key
from sweep.provenance import artifact as a
from sweep.provenance.tree import digest_bytes
from sweep.sdk._artifacts import check_name


def logged(run: int, digest: str, *aliases: str, attempt: int = 1, name: str = "model") -> e.ArtifactLogged:
    return e.ArtifactLogged(run, attempt, name, "model", digest, 10, 1, f"list-{digest}", aliases)


@pytest.fixture
def lab() -> Lab:
    """A sweep with three runs, the first two at work."""
    lab = Lab(make_spec())
    lab.join(slots=2)
    lab.work(points=3)
    lab.start(0)
    lab.start(1)
    return lab


def add(lab: Lab, *entries: e.AnyEntry) -> dict[str, Any]:
    """Append events; the artifacts as the index has them."""
    for entry in entries:
        lab.add(entry)
    rows = rebuild(lab.fresh(), lab.journal)
    return decode_artifacts(rows)


def test_unchanged_content_makes_no_new_version_and_aliases_move(lab: Lab) -> None:
    model = add(
        lab, logged(0, "aa", "best"), logged(1, "bb"), logged(1, "aa", "again"), logged(0, "cc", "best")
    )["model"]
    assert [(v.version, v.digest, v.runs) for v in model.versions] == [
        (0, "aa", (0, 1)),
        (1, "bb", (1,)),
        (2, "cc", (0,)),
    ]
    assert model.aliases == {"latest": 2, "best": 2, "again": 0}
    assert [a.version_of(model, word) for word in ("latest", "again", "v1", "v3", "v-1", "worst")] == [
        2,
        0,
        1,
        None,
        None,
        None,
    ]


def test_an_attempt_that_is_over_logs_nothing(lab: Lab) -> None:
    assert add(lab, logged(0, "aa", attempt=2), logged(99, "bb")) == {}
    assert len(lab.fold.state.ignored) == 2


def test_following_the_journal_gives_what_folding_it_anew_gives(lab: Lab) -> None:
    before = lab.fold.take()
    add(lab, logged(0, "aa"), e.ArtifactUsed(1, 1, "model:latest", "s", "model", 0, "aa", "model", "list-aa"))
    followed = {**before, **lab.fold.take()}
    assert followed == rebuild(lab.fresh(), lab.journal)
    [used] = decode_run(followed[run_key(1)]).used
    assert (used.asked, used.name, used.version, used.digest) == ("model:latest", "model", 0, "aa")


# --- contents --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "deep/x.bin").write_bytes(bytes(range(256)) * 8000)
    (made / "empty").touch()
    return made


def store_of(packed: a.Packed) -> dict[str, bytes]:
    return {digest_bytes(blob): blob for blob in packed.blobs}


def source(blobs: dict[str, bytes]) -> a.Source:
    return a.Source(blobs.get, lambda _: iter(()))


def test_what_was_packed_comes_back(folder: Path, tmp_path: Path) -> None:
    packed = a.pack(folder, {"far": "s3://bucket/x"})
    blobs = store_of(packed)
    listed = a.parse(blobs[packed.manifest])
    assert [file.path for file in listed.files] == ["deep/x.bin", "empty"]
    assert listed.references == (("far", "s3://bucket/x"),)
    assert list(a.write(listed, source(blobs), tmp_path / "back"))
    assert (tmp_path / "back/deep/x.bin").read_bytes() == (folder / "deep/x.bin").read_bytes()
    assert list(a.check(listed, source(blobs))) == []
    assert a.blobs_of_artifact(packed.manifest, blobs.get) == set(blobs)


def test_the_digest_is_of_names_and_contents_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = a.pack(folder, {})
    monkeypatch.setattr(a, "KEPT_BYTES", 10)
    elsewhere = a.pack(folder, {})
    assert elsewhere.listed.digest == packed.listed.digest
    assert (packed.listed.whole, elsewhere.listed.whole) == (True, False)
    (folder / "empty").rename(folder / "renamed")
    assert a.pack(folder, {}).listed.digest != packed.listed.digest


def test_one_flipped_bit_is_found(folder: Path, tmp_path: Path) -> None:
    packed = a.pack(folder, {})
    blobs = store_of(packed)
    for name in set(blobs) - {packed.manifest}:
        broken = {**blobs, name: bytes([blobs[name][0] ^ 1]) + blobs[name][1:]}
        assert list(a.check(packed.listed, source(broken))) == [
            "deep/x.bin is not what was logged: its digest is another one"
        ]
        with pytest.raises(a.ArtifactError, match="not what was logged"):
            list(a.write(packed.listed, source(broken), tmp_path / name))
        short = {**blobs, name: blobs[name][:-1]}
        assert "bytes" in next(iter(a.check(packed.listed, source(short))))
        gone = {key: blob for key, blob in blobs.items() if key != name}
        assert "missing from the store" in next(iter(a.check(packed.listed, source(gone))))


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", ".git/config", "a//b", "x\0y"])
def test_a_list_that_leads_out_of_its_folder_is_refused(path: str) -> None:
    files = (a.File(path, 0, "00"),)
    data = msgspec.json.encode(a.Listed(a.FORMAT, a.digest_of(files), files))
    with pytest.raises(a.ArtifactError, match="damaged"):
        a.parse(data)


@pytest.mark.parametrize("data", [None, b"", b"[]", b'{"format": 1}', b"\xff"])
def test_what_is_no_list_is_refused(data: bytes | None) -> None:
    with pytest.raises(a.ArtifactError):
        a.parse(data)


def test_a_list_with_another_digest_than_its_own_is_refused() -> None:
    files = (a.File("x", 1, "00"),)
    with pytest.raises(a.ArtifactError, match="digest"):
        a.parse(msgspec.json.encode(a.Listed(a.FORMAT, "11", files)))


def test_names() -> None:
    assert a.named("model") == ("", "model", "latest")
    assert a.named("model:v3") == ("", "model", "v3")
    assert a.named("abc123/model:best") == ("abc123", "model", "best")
    for text in ("", ":v1", "a/b/c", "a:b:c"):
        with pytest.raises(a.ArtifactError):
            a.named(text)
    for text in ("", "..", "a/b", "a:b", "x" * 200, "a\nb"):
        with pytest.raises(ValueError, match="no name"):
            check_name(text)


@pytest.mark.parametrize("name", ["..", "../../x", "/etc/x", "a/../../b", "", ".", "\0", "x" * 1000])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    place = tmp_path / a.folder_name(name, 3, "../../../0123456789abcdef")
    assert place.resolve().parent.parent == tmp_path.resolve()
    assert place.name == "v3-0123456789ab"


def test_the_picture_goes_from_left_to_right_and_escapes_names() -> None:
    boxes = [("d", "artifact", "<data>", "x"), ("r", "run", "run 0", ""), ("m", "artifact", "model", "")]
    picture = svg(boxes, [("d", "r"), ("r", "m")])
    assert "<data>" not in picture
    assert "&lt;data&gt;" in picture
    at = [int(line.split('x="')[1].split('"')[0]) for line in picture.splitlines() if "<rect" in line]
    assert at == sorted(at)
    assert len(set(at)) == 3
    assert "No run" in svg([], [])
    assert (
        svg([("a", "run", "a", ""), ("b", "artifact", "b", "")], [("a", "b"), ("b", "a")]).count("<rect") == 2
    )
