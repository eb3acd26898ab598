"""Files that may hold secrets, told by their names.

A name that only sounds secret on a file of source code (`credentials.py`) says that its content must be looked at, not
that it is left out: code is what the record is for.
"""

from __future__ import annotations

import re
from typing import Literal

Verdict = Literal["secret", "look inside", ""]

_FOLDERS = frozenset(
    {".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".gcloud", ".huggingface", ".kaggle"}
)

_SURELY = re.compile(
    r"""
    \.env | \.env\..+ | .+\.env | \.envrc | \.?netrc | _netrc | \.npmrc | \.yarnrc(\.yml)? | \.pypirc | \.pgpass | \.my\.cnf
    | \.git-credentials | \.htpasswd | \.dockercfg | \.s3cfg | \.boto | \.databrickscfg | \.renviron | \.vault-token | kubeconfig
    | kaggle\.json | client_secrets?.*\.json | service[-_]?account.*\.json | pip\.conf | \.?condarc
    | .+\.(pem|key|p12|pfx|jks|keystore|kdbx?|ppk|asc|gpg|tfvars|tfstate|token)
    | id_(rsa|dsa|ecdsa|ed25519)(_sk)?([-_.].*)?
    """,
    re.VERBOSE,
)
_SOUNDS = re.compile(
    # "token" only as the last word of the name: `special_tokens_map.json` is part of a tokenizer.
    r"\.?(.*[-_.])?((credentials?|secrets?|passwords?|passwd|api[-_]?keys?|private[-_]?keys?)([-_.].*)?|token(\.[a-z]*)?)"
)
_HARMLESS = re.compile(
    r"\.env\.(example|sample|template|dist)|.+\.env\.(example|sample|template|dist)|.+\.pub"
)
_CODE = re.compile(
    r".+\.(py|pyi|pyx|pxd|ipynb|r|jl|c|cc|cpp|cu|cuh|h|hpp|rs|go|java|kt|scala|js|mjs|ts|tsx|jsx|rb|lua|sh|bash|md|rst|html|css)"
)
_DATA = re.compile(
    r"[^.]+|\..+|.+\.(json|ya?ml|toml|ini|cfg|conf|txt|csv|env|properties|xml|db|sqlite|bak|old|enc)"
)


def judge_name(path: str) -> Verdict:
    """What the name of the file at `path` (relative, with `/`) says about secrets in it."""
    *folders, name = path.casefold().split("/")
    if not _FOLDERS.isdisjoint(folders):
        return "secret"
    if _HARMLESS.fullmatch(name):
        return "look inside"
    if _SURELY.fullmatch(name):
        return "secret"
    if _SOUNDS.fullmatch(name):
        return "secret" if _DATA.fullmatch(name) and not _CODE.fullmatch(name) else "look inside"
    return ""
