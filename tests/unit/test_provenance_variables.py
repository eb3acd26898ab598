"""Which variables are recorded with a value, and what a run gets set."""

from __future__ import annotations

from sweep.provenance import environ_record, launcher_env


def test_values_are_kept_only_for_names_on_the_list() -> None:
    record = environ_record(
        {"OMP_NUM_THREADS": "4", "LC_ALL": "C", "MY_SETTING": "private", "HOME": "/home/me"}
    )
    assert record == {"values": {"LC_ALL": "C", "OMP_NUM_THREADS": "4"}, "names": ["HOME", "MY_SETTING"]}


def test_a_secret_name_never_has_a_value_even_when_a_pattern_allows_it() -> None:
    record = environ_record({"NCCL_SECRET_KEY": "planted-value", "MKL_API_TOKEN": "planted-value"})
    assert record == {"values": {}, "names": ["MKL_API_TOKEN", "NCCL_SECRET_KEY"]}


def test_user_info_of_an_index_and_known_secrets_are_taken_out() -> None:
    record = environ_record(
        {
            "PIP_INDEX_URL": "https://me:planted@host.example/simple",
            "PYTHONPATH": "/srv/planted-password/lib",
            "DB_PASSWORD": "planted-password",
        }
    )
    assert record["values"] == {
        "PIP_INDEX_URL": "https://host.example/simple",
        "PYTHONPATH": "/srv/[redacted]/lib",
    }


def test_launcher_sets_hash_seed_threads_and_live_output() -> None:
    assert launcher_env(2**32 + 5, 3.9, {}) == {
        "PYTHONHASHSEED": "5",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
    }


def test_half_a_cpu_still_gets_a_thread() -> None:
    assert launcher_env(1, 0.5, {})["OMP_NUM_THREADS"] == "1"


def test_without_a_number_of_cpus_threads_are_left_alone() -> None:
    assert launcher_env(1, None, {}) == {"PYTHONHASHSEED": "1", "PYTHONUNBUFFERED": "1"}


def test_what_the_user_set_is_left_alone() -> None:
    chosen = {"PYTHONHASHSEED": "random", "OMP_NUM_THREADS": "16", "PYTHONUNBUFFERED": ""}
    assert launcher_env(1, 2, chosen) == {"MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
