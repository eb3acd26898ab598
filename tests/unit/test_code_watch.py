"""Looking at a folder of code again and again, and what of it counts as code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweep.provenance.kinds import is_output, may_be_code
from sweep.provenance.watch import CodeWatch


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def watch(tmp_path: Path) -> CodeWatch:
    write(tmp_path, train_py="1", lib__net_py="2", vocab_txt="a", agent_log="started")
    return CodeWatch(
        str(tmp_path), ["train.py", "lib/net.py", "vocab.txt", "agent.log", "data/x.csv"], ["data", "s.yaml"]
    )


def test_nothing_is_named_where_nothing_was_changed(watch: CodeWatch, tmp_path: Path) -> None:
    assert watch.look() == []
    (tmp_path / "train.py").read_text()
    assert watch.look() == []


def test_each_change_is_named_once(watch: CodeWatch, tmp_path: Path) -> None:
    write(tmp_path, lib__net_py="3")
    assert watch.look() == ["lib/net.py"]
    assert watch.look() == []
    (tmp_path / "train.py").unlink()
    assert watch.look() == ["train.py"]
    write(tmp_path, train_py="1")
    assert watch.look() == ["train.py"]


def test_same_size_and_an_old_time_hide_nothing(watch: CodeWatch, tmp_path: Path) -> None:
    before = (tmp_path / "train.py").stat()
    write(tmp_path, train_py="9")
    os.utime(tmp_path / "train.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watch.look() == ["train.py"]


def test_a_changed_executable_bit_is_named(watch: CodeWatch, tmp_path: Path) -> None:
    (tmp_path / "train.py").chmod(0o755)
    assert watch.look() == ["train.py"]


def test_a_file_that_another_takes_the_place_of_is_named(watch: CodeWatch, tmp_path: Path) -> None:
    write(tmp_path, new_tmp="1")
    (tmp_path / "new.tmp").rename(tmp_path / "train.py")
    assert watch.look() == ["train.py"]


def test_new_code_is_named_and_new_output_is_not(watch: CodeWatch, tmp_path: Path) -> None:
    write(tmp_path, agent_0_log="", results_csv="1", model_pt="", helper_py="", lib__deep__more_py="")
    assert sorted(watch.look()) == ["helper.py", "lib/deep/more.py"]
    assert watch.look() == []
    write(tmp_path, lib__deep__more_py="x", agent_log="more", data__new_py="")
    assert watch.look() == ["lib/deep/more.py"]


def test_caches_and_environments_are_not_looked_into(watch: CodeWatch, tmp_path: Path) -> None:
    write(tmp_path, __pycache____x_py="", env__pyvenv_cfg="", env__lib_py="", data__x_py="", s_yaml="")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.py").write_text("")
    assert watch.look() == []


def test_a_folder_that_is_gone_is_named_by_its_files(watch: CodeWatch, tmp_path: Path) -> None:
    tmp_path.rename(tmp_path.with_name("moved"))
    assert watch.look() == ["train.py", "lib/net.py", "vocab.txt"]


@pytest.mark.parametrize("path", "train.py a/b.yaml run.sh Makefile k.cu libx.so requirements.txt".split())
def test_new_sources_and_settings_may_be_code(path: str) -> None:
    assert may_be_code(path) and not is_output(path)


@pytest.mark.parametrize(
    "path", "agent-0.log out.csv model.pt model.pth notes.txt metrics.json .gitignore".split()
)
def test_new_results_are_no_code(path: str) -> None:
    assert not may_be_code(path)
    assert may_be_code("tool", "100755") and not may_be_code("tool.log", "100755")


@pytest.mark.parametrize("path", "a.log logs/x.out nohup.out events.out.tfevents.123 plot.png x.py~".split())
def test_output_is_no_code_even_where_it_was_recorded(path: str) -> None:
    assert is_output(path) and not is_output("config.json") and not is_output("vocab.txt")
