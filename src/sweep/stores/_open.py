"""From a URL, or none, to an open store."""

from __future__ import annotations

from pathlib import Path

from sweep.stores._place import FILE, FOLDER, default_path, is_redis, path_of
from sweep.stores.base import Store, StoreError

__all__ = ["FILE", "FOLDER", "address_of", "default_path", "open_store"]


def open_store(url: str | None, cwd: Path, *, create: bool = False) -> Store:
    """Open the store that `url` names, as seen from the folder `cwd`.

    None means `.sweep/store.db` in the project folder: the nearest one at or above `cwd`, else (where `create` makes
    it) the top of the git work tree around `cwd`, else `cwd`. `memory:` is a new, empty store that ends with this
    process. `redis://`, `rediss://` and `unix://` name a Redis server, where there is nothing to create. Raises StoreError for a URL that means nothing, for a file that does not exist unless `create`, and for
    one that cannot serve.
    """
    if url == "memory:":
        from sweep.stores.memory import MemoryStore

        return MemoryStore()
    if url is not None and is_redis(url):
        return _open_redis(url, cwd)
    try:
        path = default_path(cwd) if url is None else path_of(url, cwd)
    except ValueError as error:
        raise StoreError(str(error)) from None
    from sweep.stores.sqlite import SqliteStore

    return SqliteStore(path, create=create)


def address_of(store: Store) -> str:
    """The URL by which another process can open the store. It may hold a password: for its environment, and nothing else;
    what people see is `store.url`."""
    address: str = getattr(store, "secret_url", store.url)
    return address


def _open_redis(url: str, cwd: Path) -> Store:
    try:
        from sweep.stores.redis import RedisStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
            raise
        raise StoreError(
            "a store on a Redis server needs the package `redis`: pip install 'sweep[redis]'"
        ) from None
    return RedisStore(url, cwd)
