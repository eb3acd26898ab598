"""The code as it was: what is kept, what is left out and said, and that nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.provenance import CodeRecord, restore, snapshot, tree_on_disk
from sweep.provenance.tree import TreeFile, digest_bytes, manifest_bytes, parse_manifest

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2


class Blobs(dict[str, bytes]):
    def put(self, data: bytes) -> str:
        assert digest_bytes(data) not in self, "each content is stored once"
        self[digest_bytes(data)] = data
        return digest_bytes(data)

    def paths(self, record: CodeRecord) -> list[str]:
        return [file.path for file in parse_manifest(self[record.tree])]

    def modes(self, record: CodeRecord) -> dict[str, str]:
        return {file.path: file.mode for file in parse_manifest(self[record.tree])}


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; neither the settings nor the repositories of whoever runs the tests are seen."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    project = tmp_path / "project"
    project.mkdir()
    return project


@pytest.fixture
def git(folder: Path) -> Callable[..., str]:
    """Runs git in the folder, which is a repository with one commit of `train.py` and `.gitignore`."""

    def run(*arguments: str, at: Path = folder) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=at, check=True, capture_output=True, text=True, timeout=60).stdout

    (folder / "train.py").write_text("print(1)\n")
    (folder / ".gitignore").write_text("*.log\nruns/\n")
    run("init", "-q", "-b", "main")
    run("add", "-A")
    run("commit", "-q", "-m", "first")
    return run


def _fill(folder: Path) -> None:
    """One of each kind of file that trees have trouble with."""
    (folder / "binary.bin").write_bytes(bytes(range(256)) * 10)
    (folder / "empty").write_bytes(b"")
    (folder / "tool.sh").write_text("#!/bin/sh\n")
    (folder / "tool.sh").chmod(0o755)
    (folder / "grüße 漢字.py").write_text("x = 1\n")
    (folder / 'odd\n"name\t.py').write_text("x = 2\n")
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "b" / "c" / "deep.py").write_text("x = 1\n")
    (folder / "a.py").write_text("sorts between a/ and a-b\n")
    (folder / "link").symlink_to("a/b")
    (folder / "dangling").symlink_to("/nowhere/at/all")


def test_a_plain_folder_is_restored_with_an_identical_tree(
    folder: Path, tmp_path: Path, blobs: Blobs
) -> None:
    _fill(folder)
    record = snapshot(folder, blobs.put)
    target = tmp_path / "restored"
    restore(record, blobs.get, target)

    assert record.complete and record.warnings == () and record.git is None
    assert tree_on_disk(target) == tree_on_disk(folder) == record.tree
    assert (target / "binary.bin").read_bytes() == bytes(range(256)) * 10
    assert os.access(target / "tool.sh", os.X_OK) and not os.access(target / "binary.bin", os.X_OK)
    assert (target / "link").readlink() == Path("a/b")
    assert (target / "dangling").readlink() == Path("/nowhere/at/all")
    assert record.files == 9


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="names there are always UTF-8")
def test_a_name_that_is_not_utf8_survives(folder: Path, tmp_path: Path, blobs: Blobs) -> None:
    name = os.fsdecode(b"caf\xe9.py")
    (folder / name).write_text("x")
    record = snapshot(folder, blobs.put)
    restore(record, blobs.get, tmp_path / "restored")
    assert (tmp_path / "restored" / name).read_text() == "x"


def test_the_same_code_elsewhere_is_the_same_tree(folder: Path, tmp_path: Path) -> None:
    _fill(folder)
    other = tmp_path / "other"
    shutil.copytree(folder, other, symlinks=True)
    assert snapshot(folder, Blobs().put).tree == snapshot(other, Blobs().put).tree
    (other / "a.py").chmod(0o755)
    assert snapshot(folder, Blobs().put).tree != snapshot(other, Blobs().put).tree


def test_without_git_caches_environments_and_hidden_folders_are_skipped(folder: Path, blobs: Blobs) -> None:
    for path in (
        *(".sweep/store.db", "__pycache__/a.pyc", "node_modules/x/y.js", "env/pyvenv.cfg", "env/lib/z.py"),
        *(
            "conda/conda-meta/h",
            "conda/bin/python",
            ".hidden/settings",
            "pkg/__pycache__/b.pyc",
            "pkg/code.py",
            ".flake8",
        ),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    assert blobs.paths(snapshot(folder, blobs.put)) == [".flake8", "pkg/code.py"]


def test_what_is_excluded_is_not_kept(folder: Path, blobs: Blobs) -> None:
    for name in ("store.db", "store.db-wal", "train.py"):
        (folder / name).write_text("x")
    record = snapshot(folder, blobs.put, exclude=[folder / "store.db", folder / "store.db-wal"])
    assert blobs.paths(record) == ["train.py"] and record.complete


@pytest.mark.parametrize("repository", [True, False])
@pytest.mark.parametrize("link", [True, False])
def test_what_is_excluded_is_not_even_listed(
    folder: Path,
    tmp_path: Path,
    git: Callable[..., str],
    blobs: Blobs,
    repository: bool,
    link: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A data set may have millions of files."""
    (folder / "train.py").write_text("1")
    data = tmp_path / "mnt" if link else folder / "data"
    data.mkdir()
    for number in range(20):
        (data / str(number)).touch()
    if link:
        (folder / "data").symlink_to(data)
    if repository:
        git("init", "-q")
    monkeypatch.setattr("sweep.provenance.listing.MAX_LISTED", 10)
    record = snapshot(folder, blobs.put, exclude=[folder / "data"])
    assert "train.py" in blobs.paths(record) and record.complete
    assert not any(path.startswith("data") for path in blobs.paths(record))
    assert not [text for text in record.warnings if "more than" in text]


def test_pipes_and_sockets_are_not_waited_for(
    folder: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        record = snapshot(folder, blobs.put)
    assert record.files == 0 and record.complete


def test_files_over_the_cap_are_listed_hashed_and_said(folder: Path, blobs: Blobs) -> None:
    (folder / "train.py").write_text("x")
    (folder / "data").mkdir()
    (folder / "data" / "big.bin").write_bytes(b"a" * 1001)
    record = snapshot(folder, blobs.put, max_file_bytes=1000)

    assert not record.complete and record.left_out_count == 1
    (left_out,) = record.left_out
    assert (left_out.path, left_out.size, left_out.reason) == ("data/big.bin", 1001, "large")
    assert left_out.digest == digest_bytes(b"a" * 1001) and left_out.digest not in blobs
    assert json.loads(blobs[record.left_out_blob])["left_out"][0]["path"] == "data/big.bin"
    assert record.warnings[0].startswith(
        "1 file over 1 kB is not in the record (data/big.bin 1.0 kB): "
        "this sweep is not reconstructible from the record alone."
    )


def test_over_the_total_the_small_files_are_kept(folder: Path, blobs: Blobs) -> None:
    for size in (100, 200, 300):
        (folder / f"{size}.py").write_bytes(b"x" * size)
    record = snapshot(folder, blobs.put, max_total_bytes=350)
    assert blobs.paths(record) == ["100.py", "200.py"]
    assert "past the total of 350 bytes" in record.warnings[0]
    assert record.bytes == 300


def test_over_the_number_of_files_the_rest_is_said(folder: Path, blobs: Blobs) -> None:
    for number in range(5):
        (folder / f"{number}.py").write_text(str(number))
    record = snapshot(folder, blobs.put, max_files=3)
    assert record.files == 3 and record.left_out_count == 2
    assert record.warnings[0].startswith(
        "2 files past the first 3 files are not in the record (3.py 1 bytes, 4.py"
    )


def test_a_long_list_of_left_out_files_is_a_blob(folder: Path, blobs: Blobs) -> None:
    for number in range(30):
        (folder / f"{number:02}.bin").write_bytes(b"xx" * number + b"123")
    record = snapshot(folder, blobs.put, max_file_bytes=2)
    assert len(record.left_out) == 20 and record.left_out_count == 30
    assert len(json.loads(blobs[record.left_out_blob])["left_out"]) == 30


def test_a_file_that_cannot_be_read_is_said(
    folder: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "train.py").write_text("x")
    (folder / "locked.py").write_text("y")
    really_open = os.open

    def refuse(path: str, *rest: int) -> int:
        if str(path).endswith("locked.py"):
            raise PermissionError(13, "Permission denied")
        return really_open(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    record = snapshot(folder, blobs.put)
    assert not record.complete
    assert "1 file could not be read (locked.py: Permission denied)" in record.warnings[0]


def test_files_that_may_hold_secrets_are_left_out_and_said(folder: Path, blobs: Blobs) -> None:
    (folder / ".env").write_text("PASSWORD=planted-in-env")
    (folder / "train.py").write_text(f"import x\nlogin('{GITHUB}')\n")
    (folder / "known.py").write_text("p = 'planted-known-value'")
    (folder / GITHUB).write_text("in the name")
    (folder / "ok.py").write_text("x")
    record = snapshot(folder, blobs.put, known_secrets=["planted-known-value"])

    assert blobs.paths(record) == ["ok.py"] and not record.complete
    assert record.warnings[0].startswith(
        "4 files are left out of the record, as they may hold secrets: .env (by its name)"
    )
    assert [item.digest for item in record.left_out] == [""] * 4
    everything = b"".join(blobs.values()) + repr(record).encode()
    assert GITHUB.encode() not in everything and b"planted" not in everything


# --- git -------------------------------------------------------------------------------------------------------


@needs_git
def test_changed_and_untracked_files_are_kept_ignored_ones_not(
    folder: Path, git: Callable[..., str], tmp_path: Path, blobs: Blobs
) -> None:
    (folder / "gone.py").write_text("x")
    git("add", "gone.py")
    git("commit", "-q", "-m", "second")
    _fill(folder)
    (folder / "train.py").write_text("print('changed')\n")
    (folder / "gone.py").unlink()
    (folder / "run.log").write_text("ignored")
    git("add", "a.py")
    record = snapshot(folder, blobs.put)

    assert record.git is not None
    assert record.git.commit == git("rev-parse", "HEAD").strip()
    assert (record.git.branch, record.git.dirty) == ("main", True)
    assert (record.git.changed, record.git.untracked) == (3, 8)
    paths = blobs.paths(record)
    assert "run.log" not in paths and "gone.py" not in paths and len(paths) == 11
    restore(record, blobs.get, tmp_path / "restored")
    assert (tmp_path / "restored" / "train.py").read_text() == "print('changed')\n"


@needs_git
def test_the_index_and_the_work_tree_are_untouched(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    (folder / "new.py").write_text("x")
    os.utime(folder / "train.py", (1, 1))  # its entry in the index is stale now, which git would like to mend
    index = folder / ".git" / "index"
    before = (index.read_bytes(), index.stat().st_mtime_ns, sorted((folder / ".git").rglob("*")))
    record = snapshot(folder, blobs.put)
    assert (index.read_bytes(), index.stat().st_mtime_ns, sorted((folder / ".git").rglob("*"))) == before
    assert record.git is not None and not record.git.dirty


@needs_git
def test_a_folder_below_the_root_records_the_whole_work_tree(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    (folder / "experiments" / "one").mkdir(parents=True)
    (folder / "experiments" / "one" / "sweep.yaml").write_text("x")
    record = snapshot(folder / "experiments" / "one", blobs.put)
    assert record.folder == "experiments/one" and record.root == str(folder.resolve())
    assert blobs.paths(record) == [".gitignore", "experiments/one/sweep.yaml", "train.py"]


@needs_git
def test_a_folder_that_git_ignores_is_recorded_nevertheless(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    (folder / "runs" / "mine").mkdir(parents=True)
    (folder / "runs" / "mine" / "sweep.yaml").write_text("x")
    (folder / "runs" / "other.py").write_text("y")
    assert blobs.paths(snapshot(folder / "runs" / "mine", blobs.put)) == [
        ".gitignore",
        "runs/mine/sweep.yaml",
        "train.py",
    ]


@needs_git
def test_a_repository_of_the_home_folder_is_not_recorded_whole(
    folder: Path, git: Callable[..., str], blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "project").mkdir()
    (folder / "project" / "new.py").write_text("x")
    record = snapshot(folder / "project", blobs.put)
    assert blobs.paths(record) == ["new.py"] and record.folder == "" and record.git is not None


@needs_git
def test_nobodys_settings_and_variables_matter(
    folder: Path, git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(folder)
    git("add", "binary.bin")
    (folder / "binary.bin").rename(folder / "moved.bin")
    plain = snapshot(folder, Blobs().put)
    for setting in (
        *(
            "color.ui=always",
            "diff.noprefix=true",
            "status.short=true",
            "status.showUntrackedFiles=no",
            "status.branch=false",
        ),
        *(
            "status.relativePaths=false",
            "core.quotePath=true",
            "core.fsmonitor=/bin/false",
            "diff.renames=copies",
        ),
    ):
        git("config", *setting.split("="))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CEILING_DIRECTORIES"):
        monkeypatch.setenv(name, str(tmp_path))
    assert snapshot(folder, Blobs().put) == plain


@needs_git
def test_a_repository_without_commit_is_recorded(folder: Path, blobs: Blobs) -> None:
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True, timeout=60)
    (folder / "train.py").write_text("x")
    record = snapshot(folder, blobs.put)
    assert record.git is not None and record.git.commit is None and blobs.paths(record) == ["train.py"]


@needs_git
def test_a_detached_head_has_no_branch(folder: Path, git: Callable[..., str], blobs: Blobs) -> None:
    git("checkout", "-q", "--detach")
    record = snapshot(folder, blobs.put)
    assert record.git is not None and record.git.branch is None and record.git.commit


@needs_git
def test_a_file_in_conflict_is_kept_once_as_it_stands(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    git("checkout", "-q", "-b", "other")
    (folder / "train.py").write_text("theirs\n")
    git("commit", "-q", "-a", "-m", "theirs")
    git("checkout", "-q", "main")
    (folder / "train.py").write_text("ours\n")
    git("commit", "-q", "-a", "-m", "ours")
    with pytest.raises(subprocess.CalledProcessError):
        git("merge", "other")
    record = snapshot(folder, blobs.put)
    assert record.git is not None and record.git.dirty and blobs.paths(record) == [".gitignore", "train.py"]
    assert b"<<<<<<<" in blobs[digest_bytes((folder / "train.py").read_bytes())]


@needs_git
def test_a_tracked_folder_that_became_a_link_is_not_read_through(
    folder: Path, git: Callable[..., str], tmp_path: Path, blobs: Blobs
) -> None:
    (folder / "pkg").mkdir()
    (folder / "pkg" / "a.py").write_text("inside")
    git("add", "-A")
    git("commit", "-q", "-m", "pkg")
    shutil.rmtree(folder / "pkg")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.py").write_text("not part of the code")
    (folder / "pkg").symlink_to(elsewhere)
    record = snapshot(folder, blobs.put)
    assert blobs.modes(record) == {".gitignore": "100644", "pkg": "120000", "train.py": "100644"}


@needs_git
def test_submodules_are_recorded_with_their_files(
    folder: Path, git: Callable[..., str], tmp_path: Path, blobs: Blobs
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "lib.py").write_text("x")
    git("init", "-q", at=library)
    git("add", "-A", at=library)
    git("commit", "-q", "-m", "lib", at=library)
    git("submodule", "--quiet", "add", str(library), "vendor/lib")
    git("commit", "-q", "-m", "submodule")
    clean = snapshot(folder, Blobs().put)
    (folder / "vendor" / "lib" / "lib.py").write_text("changed")
    record = snapshot(folder, blobs.put)

    (module,) = record.submodules
    assert (module.path, module.dirty, module.checked_out) == ("vendor/lib", True, True)
    assert module.commit == git("rev-parse", "HEAD", at=library).strip()
    assert "vendor/lib/lib.py" in blobs.paths(record)
    assert clean.git is not None and not clean.git.dirty and not clean.submodules[0].dirty
    assert record.git is not None and record.git.dirty


@needs_git
def test_a_submodule_that_is_not_checked_out_is_named(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    commit = "1" * 40
    git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor")
    (module,) = snapshot(folder, blobs.put).submodules
    assert (module.path, module.commit, module.checked_out) == ("vendor", commit, False)


@needs_git
def test_a_repository_inside_that_is_no_submodule_is_kept(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "x.py").write_text("x")
    git("init", "-q", at=folder / "inner")
    record = snapshot(folder, blobs.put)
    assert "inner/x.py" in blobs.paths(record) and record.submodules[0].path == "inner"


@needs_git
def test_an_environment_that_nobody_ignored_is_left_alone(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    for path in ("env/pyvenv.cfg", "env/lib/x.py", "__pycache__/y.pyc", ".sweep/store.db"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    record = snapshot(folder, blobs.put)
    assert blobs.paths(record) == [".gitignore", "train.py"]
    assert record.git is not None and record.git.untracked == 0


@needs_git
def test_user_info_of_the_remote_is_not_recorded(folder: Path, git: Callable[..., str], blobs: Blobs) -> None:
    git("remote", "add", "zzz", "https://host/other")
    git("remote", "add", "origin", f"https://{GITHUB}@host/code.git")
    git("config", f"url.https://me:{GITHUB}@host/.insteadOf", "https://host/")
    record = snapshot(folder, blobs.put)
    assert record.git is not None and record.git.remote == "https://host/code.git"
    assert GITHUB not in repr(record)


@needs_git
def test_committed_files_are_kept_even_when_a_changed_one_would_not_be(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    (folder / "committed.py").write_text(f"x = '{GITHUB}'")
    git("add", "-A")
    git("commit", "-q", "-m", "oops")
    (folder / "train.py").write_text(f"y = '{GITHUB}'")
    record = snapshot(folder, blobs.put)
    assert "committed.py" in blobs.paths(record) and "train.py" not in blobs.paths(record)


def test_without_git_installed_the_folder_is_walked_and_that_is_said(
    folder: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".git").mkdir()
    (folder / "train.py").write_text("x")
    monkeypatch.setenv("PATH", "")
    record = snapshot(folder, blobs.put)
    assert blobs.paths(record) == ["train.py"]
    assert record.warnings == ("the commit is not recorded: git is not installed",)


@needs_git
def test_a_damaged_repository_is_walked_and_that_is_said(
    folder: Path, git: Callable[..., str], blobs: Blobs
) -> None:
    (folder / ".git" / "index").write_bytes(b"rubbish")
    record = snapshot(folder, blobs.put)
    assert "train.py" in blobs.paths(record) and record.git is None
    assert "git could not be read" in record.warnings[0]


def test_manifest_of_a_tree_is_canonical() -> None:
    one, two = TreeFile("b", "100644", 1, "0" * 64), TreeFile("a", "100755", 2, "1" * 64)
    assert manifest_bytes([one, two]) == manifest_bytes([two, one])
    assert manifest_bytes([one]) == b'{"format":1,"files":[["b","100644",1,"' + b"0" * 64 + b'"]]}'


@pytest.mark.parametrize("repository", [pytest.param(True, marks=needs_git), False])
def test_a_folder_that_ignores_itself_is_not_code(folder: Path, blobs: Blobs, repository: bool) -> None:
    if repository:
        subprocess.run(["git", "init", "-q", str(folder)], check=True, timeout=60)
    for name in ("train.py", "made/.gitignore", "made/page.html", "kept/.gitignore", "kept/a.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("*.log\n" if name == "kept/.gitignore" else f"# {name}\n*\n")
    paths = blobs.paths(snapshot(folder, blobs.put))
    assert paths == ["kept/.gitignore", "kept/a.py", "train.py"]
