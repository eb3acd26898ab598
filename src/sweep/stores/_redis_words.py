"""What can be wrong with a Redis server, in words: errors as what happened and what to do, and servers that cannot serve.

The rule of this file: an address is named as `Address.shown`, never with its password.
"""

from __future__ import annotations

import re
import ssl
from typing import Any

from redis import exceptions as wrong

from sweep.stores._redis_url import Address
from sweep.stores.base import StoreError, StoreFull

OLDEST = (6, 2)

_NO_ROOM = ("OOM command not allowed", "No space left on device", "used memory > 'maxmemory'")
_REFUSED = ("can't run this command", "can't access at least one", "no permissions", "NOPERM")


def is_lasting(error: BaseException) -> bool:
    """Whether trying again would not help: what is refused, not what cannot be reached."""
    if isinstance(error, wrong.AuthenticationError | wrong.AuthorizationError):
        return True
    return any(isinstance(found, ssl.SSLError) for found in _chain(error)) or "SSL" in str(error)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def in_words(error: BaseException, address: Address) -> StoreError:
    """redis-py's error as what happened and what to do."""
    where, said = address.shown, _said(error)
    if any(words in said for words in _NO_ROOM):
        if "space" in said:
            return StoreFull(f"the disk of the Redis server {where} is full ({said}); free some space there")
        return StoreFull(
            f"the Redis server {where} is out of memory (its `maxmemory` is reached); raise it, or remove sweeps with `sweep rm`"
        )
    if isinstance(error, wrong.AuthenticationError) or "NOAUTH" in said or "WRONGPASS" in said:
        return _unwelcome(address, said)
    if isinstance(error, wrong.NoPermissionError) or any(words in said for words in _REFUSED):
        name = address.user or "default"
        return StoreError(
            f"the Redis server {where} does not let the user {name!r} do what sweep needs ({said}); as its administrator: "
            f"ACL SETUSER {name} ~sweep:* resetchannels &sweep:* +@all -@dangerous +info"
        )
    if "READONLY" in said or isinstance(error, wrong.ReadOnlyError):
        return StoreError(f"the Redis server {where} is a read-only replica; name its primary server")
    if isinstance(error, wrong.BusyLoadingError) or "LOADING" in said:
        return StoreError(f"the Redis server {where} is still loading its data; try again in a moment")
    if any(isinstance(found, ssl.SSLError) for found in _chain(error)) or "SSL" in said:
        return _untrusted(address, said)
    if isinstance(error, wrong.TimeoutError | TimeoutError):
        question = "does the network let this machine reach it" + (
            ", and does it speak TLS at this port (redis:// is without)?" if address.tls is not None else "?"
        )
        return StoreError(f"the Redis server {where} does not answer; is it running, and {question}")
    if "SELECT is not allowed in cluster mode" in said:
        return StoreError(f"{where}: a Redis cluster has database 0 only; take the number out of the address")
    if isinstance(error, wrong.ClusterDownError):
        return StoreError(f"the Redis cluster {where} is down ({said})")
    if isinstance(error, wrong.ConnectionError | OSError):
        return _unreachable(address, said)
    return StoreError(f"the Redis server {where} says: {said}")


def node_away(node: tuple[str, int], address: Address, error: BaseException) -> StoreError:
    """Of a cluster, a node that is not the one that the address names."""
    why = re.sub(r"^Error \d+ connecting to \S+ ", "", _said(error)).rstrip(".")
    return StoreError(
        f"the node {node[0]}:{node[1]} of the Redis cluster {address.shown} cannot be reached ({why}); start it again, or have the "
        "cluster replace it"
    )


def _said(error: BaseException) -> str:
    """What the server said, without the name of the script that it said it about."""
    text = " ".join(str(error).split())
    return re.sub(
        r"^Error running script \(call to \w+\): @user_script:\s*\d+: (@user_script: \d+: )?", "", text
    )


def _unwelcome(address: Address, said: str) -> StoreError:
    if "called without any password configured" in said or "no password is set" in said:
        return StoreError(
            f"the Redis server {address.shown} has no password set, and was given one; take it out of the address"
        )
    if not address.password:
        return StoreError(
            f"the Redis server {address.shown} wants a password; give it in the address (redis://USER:PASSWORD@HOST) or name a "
            "file that holds it (?password_file=PATH)"
        )
    return StoreError(f"the Redis server {address.shown} refuses this user and password; check both")


def _untrusted(address: Address, said: str) -> StoreError:
    where = address.shown
    if "WRONG_VERSION_NUMBER" in said or "record layer" in said:
        return StoreError(
            f"the Redis server {where} does not speak TLS at this port; write redis:// for one without TLS"
        )
    if "certificate is not valid for" in said:
        return StoreError(
            f"no TLS connection to the Redis server {where}: its certificate is not one of {address.host!r}; give the server's address "
            "by the name in the certificate"
        )
    detail = re.sub(r"^Error \d+ connecting to \S+ (\[\S+ \S+\] )?|\s*\(_ssl\.c:\d+\)", "", said).rstrip(". ")
    if "expired" in said or "not yet valid" in said:
        return StoreError(
            f"no TLS connection to the Redis server {where}: {detail}; it needs a new one, or this machine's clock is wrong"
        )
    return StoreError(
        f"no TLS connection to the Redis server {where}: {detail}; name the file of the authority that signed its certificate "
        "with ?ssl_ca_certs=FILE"
    )


def _unreachable(address: Address, said: str) -> StoreError:
    if "Connection refused" in said or "No such file" in said:
        return StoreError(
            f"no Redis server is running at {address.shown}; start one (`sweep store serve`), or correct the address"
        )
    if "Name or service not known" in said or "nodename nor servname" in said or "name resolution" in said:
        return StoreError(f"{address.shown}: there is no host {address.host!r}; correct the address")
    if "Connection reset" in said and address.tls is None and not address.path:
        return StoreError(
            f"the Redis server {address.shown} closed the connection; is it one that wants TLS (rediss://)?"
        )
    return StoreError(
        f"the Redis server {address.shown} cannot be reached: {said.removeprefix('Error ').rstrip('.')}"
    )


# --- servers -----------------------------------------------------------------------------------------------------


def parse_info(answer: bytes) -> dict[str, str]:
    """The lines of an `INFO`."""
    lines = answer.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def refuse_unfit(info: dict[str, str], address: Address) -> None:
    """Raise StoreError for a server that is too old, that keeps no data, or that throws keys away."""
    if "sentinel" in (info.get("redis_mode"), info.get("server_mode")):  # Redis's word for it, and Valkey's
        raise StoreError(
            f"{address.shown} is a Redis Sentinel, which keeps no data itself; name the primary server that it watches"
        )
    version = tuple(int(part) for part in re.findall(r"\d+", info.get("redis_version", ""))[:2])
    if version and version < OLDEST:
        raise StoreError(
            f"the Redis server {address.shown} is too old: it is version {info['redis_version']}, sweep needs 6.2 or newer (or Valkey)"
        )
    if evicts(info):
        raise StoreError(
            f"the Redis server {address.shown} throws keys away when its memory is full (maxmemory-policy {info['maxmemory_policy']}): "
            "a recorded sweep would lose entries without a word; set `maxmemory-policy noeviction`"
        )


def evicts(info: dict[str, str]) -> bool:
    """Whether the server may throw away what it was given."""
    return info.get("maxmemory", "0") != "0" and info.get("maxmemory_policy", "").startswith("allkeys")


def is_written(persistence: bytes) -> bool:
    """Whether all that came before this `INFO persistence` is in the append-only file by the time it is answered: nothing waits to be
    written, or nothing hinders it. (Redis puts it off while an fsync is pending, and writes before it answers.)"""
    return b"aof_pending_bio_fsync:0" in persistence or b"aof_buffer_length:0\r" in persistence


def durability(info: dict[str, str], fsync: str) -> str:
    """What "recorded" means on such a server. `fsync`: its `appendfsync`, empty when it does not tell."""
    if not info:
        return "not known, and with `appendfsync everysec` less than it could be: the server does not let this user ask INFO"
    if info.get("aof_enabled") != "1":
        return "none but Redis's snapshots: what was recorded since the last one is lost when the server ends (appendonly no)"
    if fsync == "always":
        return "every commit is written to the disk (fsync) before it is acted on; it survives a crash and a power cut (appendfsync always)"
    if fsync == "everysec":
        return (
            "every commit survives when the Redis process is killed; when its machine loses power, up to two seconds of them are lost "
            "(appendfsync everysec)"
        )
    if fsync == "no":
        return "every commit survives when the Redis process is killed; a power cut loses what the system had not written yet (appendfsync no)"
    return (
        "every commit survives when the Redis process is killed; the server does not tell this user its appendfsync: with `always` it "
        "survives a power cut as well"
    )


def describe(info: dict[str, str], fsync: str) -> dict[str, Any]:
    """What a person who looks after the server wants to know."""
    server = "Valkey" if "valkey_version" in info else "Redis"
    return {
        "server": f"{server} {info.get('valkey_version') or info.get('redis_version', '?')}",
        "memory_bytes": int(info.get("used_memory", 0)),
        "max_memory_bytes": int(info.get("maxmemory", 0)),
        "replica": info.get("role") in ("slave", "replica"),
        "eviction": info.get("maxmemory_policy", "unknown"),
        "appendonly": info.get("aof_enabled") == "1",
        "appendfsync": fsync,
        "durability": durability(info, fsync),
    }
