"""Text without secrets, and the names and contents that say that a file holds one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core import secrets
from sweep.core.secrets import find_tokens
from sweep.provenance import known_secrets, scrub, scrub_arguments, strip_user_info
from sweep.provenance.scrub import holds_secret
from sweep.provenance.secret_files import judge_name

# Made up for these tests, and put together here so that no scanner takes this file for a leak.
GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
AWS = "AKIA" + "QWERTYUIOP123456"


@pytest.mark.parametrize(
    ("url", "stripped"),
    [
        ("https://github.com/me/code.git", "https://github.com/me/code.git"),
        ("https://planted@github.com/me/code", "https://github.com/me/code"),
        ("https://me:planted@github.com:8443/code", "https://github.com:8443/code"),
        ("https://me:pl@nted@github.com/code", "https://github.com/code"),
        ("https://me:planted/slash@github.com/code", "https://github.com/code"),
        ("https://me:planted#mark@github.com/code", "https://github.com/code"),
        ("https://github.com/code?access_token=planted", "https://github.com/code"),
        ("https://github.com/code#planted", "https://github.com/code"),
        ("https://[::1]:80/code", "https://[::1]:80/code"),
        ("https://host/@scope/code", "https://host/@scope/code"),
        ("ssh://planted@host:22/code", "ssh://host:22/code"),
        ("git@github.com:me/code.git", "github.com:me/code.git"),
        ("planted:planted/x@host:code", "host:code"),
        ("codecommit::eu-west-1://planted@code", "codecommit::eu-west-1://code"),
        ("/srv/a@b/code.git", "/srv/a@b/code.git"),
        ("../code", "../code"),
        ("file:///srv/code", "file:///srv/code"),
    ],
)
def test_no_user_info_is_left_in_an_address(url: str, stripped: str) -> None:
    assert strip_user_info(url) == stripped
    assert "planted" not in stripped


def test_text_loses_tokens_addresses_and_known_values() -> None:
    text = f"use {GITHUB} at https://planted@host/x with hunter2-hunter2"
    assert scrub(text, ["hunter2-hunter2"]) == "use [redacted] at https://host/x with [redacted]"


def test_text_that_is_not_utf8_becomes_it() -> None:
    assert scrub("a\udcffb") == "a\\udcffb"


def test_digests_and_commits_are_no_tokens() -> None:
    digest = "0123456789abcdef" * 4
    assert scrub(f"tree {digest} commit {digest[:40]}") == f"tree {digest} commit {digest[:40]}"


def test_arguments_after_a_secret_name_go() -> None:
    arguments = [
        "train.py",
        "--api-key",
        "planted",
        "--password=planted-too",
        "--lr",
        "0.1",
        GITHUB,
        "--token",
        "--fast",
    ]
    assert scrub_arguments(arguments) == [
        *("train.py", "--api-key", "[redacted]", "--password=[redacted]", "--lr", "0.1", "[redacted]"),
        *("--token", "--fast"),
    ]


def test_known_secrets_are_long_values_of_secret_names_longest_first() -> None:
    environ = {
        "API_KEY": "first-secret",
        "DB_PASSWORD": "a-longer-secret",
        "PIN_SECRET": "1234",
        "LANG": "not-a-secret",
    }
    assert known_secrets(environ) == ("a-longer-secret", "first-secret")


def test_content_with_a_token_is_found_and_said_without_it() -> None:
    why = holds_secret(f"import os\nkey = '{AWS}'\n".encode())
    assert why == "line 2 looks like a token or a key"


def test_content_with_a_known_secret_is_found() -> None:
    assert (
        holds_secret("x = 'grüße-geheim'".encode(), ["grüße-geheim"])
        == "it holds the value of a secret environment variable"
    )


def test_a_token_in_a_very_long_line_is_found() -> None:
    assert holds_secret(b"x " * 100_000 + GITHUB.encode() + b" y" * 100_000)


def test_ordinary_code_holds_no_secret() -> None:
    code = b"def task_based(x):\n    # see https://host/page, risk-free; token = tokenizer(x)\n    return x @ x.T\n"
    assert holds_secret(code) == ""


@pytest.mark.parametrize(
    "text",
    [
        'f"redis://:{password}@{host}"',
        'f"postgres://{user}:{quote(self.password)}@{host}:{port}/db"',
        "postgres://user:$PASSWORD@host",
        "postgres://user:${DB_PASSWORD:-none}@host",
        "postgres://user:$db_password@host $(cat x)",
        "rediss://:$(cat_password)@host",
        "mysql://root:%s@%s/db",
        "mysql://root:%(password)s@%(host)s",
        "amqp://guest:{{password}}@host",
        "redis://:<password>@host",
        "redis://:[password]@host",
        "redis://:***@host https://user:xxxx@host redis://:...@host ftp://me:%PASSWORD%@host",
    ],
)
def test_a_placeholder_for_a_password_is_none(text: str) -> None:
    assert holds_secret(text.encode()) == ""
    assert find_tokens(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "redis://:planted@host",
        "redis://:{password}planted@host",
        "redis://:planted{password}@host",
        "redis://:$ecret1@host",
        "redis://:$ecret@host",
        "redis://:pl{a}nted@host",
        "redis://:{1planted}@host",
        "postgres://user:$PASSWORD:planted@host",
        "postgres://{user}:planted@host",
        f"https://{GITHUB}:{{password}}@host",
        "redis://:{password}@{host} redis://:planted@host",
    ],
)
def test_a_password_beside_a_placeholder_is_found(text: str) -> None:
    assert holds_secret(text.encode()) == "line 1 looks like a token or a key"
    assert "planted" not in scrub(text) and GITHUB not in scrub(text) and "ecret" not in scrub(text)


@settings(max_examples=300)
@given(st.from_regex(secrets._SHAPES))
def test_the_quick_scan_finds_whatever_the_patterns_find(text: str) -> None:
    text = text.encode("ascii", "replace").decode("ascii")
    assert bool(holds_secret(text.encode("ascii"))) == bool(secrets.find_tokens(text))


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".env",
            "conf/.env.local",
            "prod.env",
            ".netrc",
            ".npmrc",
            ".pypirc",
            "key.pem",
            "server.KEY",
            "id_rsa",
            "id_ed25519.bak",
        ),
        *(
            "credentials",
            "credentials.json",
            "aws_credentials.csv",
            "secrets.yaml",
            ".streamlit/secrets.toml",
            ".ssh/config",
        ),
        *(
            ".aws/anything",
            "hf_token",
            "token.txt",
            "api_key.txt",
            "client_secret_1.apps.json",
            "service-account.json",
        ),
    ],
)
def test_names_that_say_secret(path: str) -> None:
    assert judge_name(path) == "secret"


@pytest.mark.parametrize(
    "path",
    [
        "train.py",
        "tokenizer.json",
        "special_tokens_map.json",
        "tokens.txt",
        "keyboard.py",
        "environment.yml",
        "monkey.txt",
    ],
)
def test_names_that_say_nothing(path: str) -> None:
    assert judge_name(path) == ""


@pytest.mark.parametrize(
    "path", ["credentials.py", "src/secrets.py", "make_api_keys.sh", ".env.example", "id_rsa.pub"]
)
def test_code_that_only_sounds_secret_is_looked_into(path: str) -> None:
    assert judge_name(path) == "look inside"
