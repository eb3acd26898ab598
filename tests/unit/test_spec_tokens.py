"""What is taken for a secret, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.core.secrets import REDACTED, find_tokens, harmless_value, looks_secret_name, redact

NAMES = """HF_TOKEN token TOKEN github_token accessToken TOKEN_HF WANDB_API_KEY OPENAI_API_KEY apiKey api-key --api-key
    AWS_SECRET_ACCESS_KEY SECRET client_secret db.password DB_PASSWORD passwd PRIVATE_KEY ssh_key ADMIN_CREDENTIALS TOKEN1
    token_v2 auth_key APIKEY secretKey MLFLOW_TRACKING_PASSWORD""".split()
HARMLESS_NAMES = """max_tokens num_tokens tokenizer TOKENIZERS_PARALLELISM pad_token mask_token token_dropout token_type
    MAX_TOKEN_LENGTH key keyboard monkey PYTHONPATH SECRET_FILE HF_TOKEN_PATH GOOGLE_APPLICATION_CREDENTIALS lr
    AWS_ACCESS_KEY_ID primary_key public_key secretary""".split()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name: str) -> None:
    assert looks_secret_name(name)


@pytest.mark.parametrize("name", [*HARMLESS_NAMES, "", "_", "__", "é"])
def test_names_of_other_things(name: str) -> None:
    assert not looks_secret_name(name)


TOKENS = [
    "ghp_" + "a1" * 18,
    "github_pat_" + "a1_" * 10,
    "glpat-" + "aB3-" * 6,
    "AKIA" + "ABCD1234" * 2,
    "hf_" + "aB" * 17,
    "sk-proj-" + "a1-_" * 8,
    "sk-ant-api03-" + "a1-_" * 8,
    "sk-" + "aB1" * 16,
    "xoxb-123456789012-abcdef",
    "hooks.slack.com/services/T000/B000/" + "x" * 12,
    "AIza" + "a" * 35,
    "sk_live_" + "a1" * 10,
    "npm_" + "a1" * 18,
    "pypi-AgE" + "a1" * 25,
    "dapi" + "0123456789abcdef" * 2,
    "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + ".c_d",
    "Bearer " + "a1." * 10,
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\ndef\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\ncut off",
]


@pytest.mark.parametrize("token", TOKENS)
def test_shapes_of_tokens(token: str) -> None:
    text = f'x = "{token}'
    assert find_tokens(text) == [(5, len(text))]
    assert redact(text) == f'x = "{REDACTED}'


@pytest.mark.parametrize(
    "text",
    [
        "0123456789abcdef0123456789abcdef01234567",
        "sk-learn-random-forest-baseline-with-a-long-name",
        "risk-assessment-model-2024-final-version-3",
        "hf_hub",
        "https://example.org/a:b@c",
        "git@github.com:owner/repo.git",
        "https://host:8080/path",
        "eyJhbGciOiJIUzI1NiJ9",
        "the bearer of bad news",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_only_resembles_a_token(text: str) -> None:
    assert find_tokens(text) == []
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git clone https://joe:pw1@host/x", "git clone https://[redacted]@host/x"),
        ("redis://:secret@host:6379/0", "redis://[redacted]@host:6379/0"),
        ("train.py --api-key=abcdef --lr=0.1", "train.py --api-key=[redacted] --lr=0.1"),
        ("train.py --token abcdef x", "train.py --token [redacted] x"),
        ("PASSWORD: hunter2", "PASSWORD: [redacted]"),
        ('{"password": "hunter2", "lr": 1}', '{"password": "[redacted]", "lr": 1}'),
        ("export A_TOKEN='abc' B=1", "export A_TOKEN='[redacted]' B=1"),
        ("++auth.token=abc", "++auth.token=[redacted]"),
        ("secret garden token ring", "secret garden token ring"),
        (
            "--max_tokens=512 --tokenizer bert --pad_token=x",
            "--max_tokens=512 --tokenizer bert --pad_token=x",
        ),
        ("--token --lr=1", "--token --lr=1"),
        ("--token=${envvar:T} PASSWORD=$PW token=None", "--token=${envvar:T} PASSWORD=$PW token=None"),
        ("TOKEN=hf_" + "a" * 34 + " x", "TOKEN=[redacted] x"),
    ],
)
def test_redacting_a_command_line(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected


def test_source_code_is_judged_by_shapes_only() -> None:
    assert find_tokens("password = get_password()") == []
    assert find_tokens("password = get_password()", assignments=True) == [(11, 25)]


@pytest.mark.parametrize(
    "value", ["", "true", "False", "none", "0", "1", "0.5", "$X", "${X}", "${envvar:X}", "***", "<pad>"]
)
def test_values_that_say_nothing(value: str) -> None:
    assert harmless_value(value)


@pytest.mark.parametrize("value", ["abc", "1234", "$ecret!", "truely", "${X}abc", "hunter2"])
def test_values_that_may_say_something(value: str) -> None:
    assert not harmless_value(value)


@given(st.text(alphabet="aB1:/@=-_ .\n\"'{}$,", max_size=200) | st.text(max_size=100))
def test_spans_are_ordered_and_inside(text: str) -> None:
    end = 0
    for start, stop in find_tokens(text, assignments=True):
        assert end <= start < stop <= len(text)
        end = stop


@pytest.mark.parametrize(
    "piece", ["a", "a:", "a-", "token=a", "--token ", "://", "eyJ", "-----BEGIN PRIVATE KEY-----", "a=b "]
)
def test_long_texts_take_time_in_proportion(piece: str) -> None:
    # Far above what a quadratic search could do within the time limit of a test.
    assert isinstance(redact(piece * (400_000 // len(piece))), str)
