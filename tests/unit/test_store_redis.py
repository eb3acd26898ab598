"""What is the Redis store's own: what is wrong with a server in words, reconnecting, its clock, and what is packed away."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.core import entries as e
from sweep.core.names import agent_lease, controller_lease
from sweep.stores import (
    HistoryChunk,
    Index,
    IndexUpdate,
    Listener,
    Moved,
    StoreError,
    StoreFull,
    address_of,
    listen,
    open_store,
)
from sweep.stores import _redis_words as words
from sweep.stores._redis_clock import ServerClock, machine_s
from sweep.stores._redis_keys import Keys
from sweep.stores._redis_url import parse, shown
from sweep.stores.base import EntriesLost
from sweep.stores.memory import MemoryStore
from sweep.stores.redis import RedisStore
from tests.redis_server import Proxy, RedisCluster, RedisServer, find_server, free_port

PAUSE = e.PauseRequested()
PLANTED = "planted-pa55word"


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    made = RedisStore(redis_server.url)
    yield made
    made.close()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers with options of their own."""
    started: list[RedisServer] = []

    def start_one(**options: str) -> RedisServer:
        started.append(RedisServer(tmp_path_factory.mktemp("r"), **options).start())
        return started[-1]

    yield start_one
    for server in started:
        server.kill()


def append(store: RedisStore, count: int = 1, sweep: str = "s") -> None:
    store.append(sweep, [PAUSE] * count, writer="w", first_seq=store.last_seq(sweep, "w") + 1)


def fails(url: str, pattern: str, kind: type[StoreError] = StoreError) -> None:
    with pytest.raises(kind, match=pattern) as caught:
        store = RedisStore(url, patience_s=0.05)
        store.append("s", [PAUSE], writer="another", first_seq=1)  # nobody has written it anywhere
    assert PLANTED not in str(caught.value)


# --- addresses -------------------------------------------------------------------------------------------------


def test_an_address_is_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    found = parse("rediss://me:p%40ss@host:7000/3?ssl_ca_certs=ca.pem&ssl_check_hostname=false", tmp_path)
    assert (found.host, found.port, found.db, found.user, found.password) == ("host", 7000, 3, "me", "p@ss")
    assert found.tls == {"ssl_ca_certs": str(tmp_path / "ca.pem"), "ssl_check_hostname": "false"}
    local = parse("unix://me:pw@/run/redis.sock?db=2", tmp_path)
    assert (local.path, local.db, local.user, local.password, local.tls) == (
        "/run/redis.sock", 2, "me", "pw", None,
    )  # fmt: skip
    assert parse("redis://host", tmp_path)[:4] == ("host", 6379, "", 0)


def test_a_password_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PLANTED}\n")
    found = parse("redis://host?password_file=password", tmp_path)
    assert found.password == PLANTED
    assert PLANTED not in found.shown
    with pytest.raises(StoreError, match=r"the password cannot be read from .*/none: No such file"):
        parse("redis://host?password_file=none", tmp_path)


def test_another_process_elsewhere_can_open_it(start: Callable[..., RedisServer], tmp_path: Path) -> None:
    server = start(requirepass=PLANTED)
    (tmp_path / "pw").write_text(PLANTED)
    with closing(open_store(f"redis://127.0.0.1:{server.port}/1?password_file=pw", tmp_path)) as store:
        assert store.url == f"redis://127.0.0.1:{server.port}/1"
        address = address_of(store)
        assert address == f"{store.url}?password_file={tmp_path}/pw"
    with closing(open_store(address, Path("/"))) as store:
        assert store.sweeps() == []
    assert address_of(MemoryStore()) == "memory:"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PLANTED}@host:6379/0",
        f"redis://me:{PLANTED}@host",
        f"redis://me:{PLANTED}/x@host/0",
        f"redis://me:{PLANTED}@host:port/0",
        f"unix://{PLANTED}@/run/s",
        f"redis://host?password={PLANTED}&db=1",
        f"rediss://me:{PLANTED}@host/0?sl_ca=x",
        f"redis://me:{PLANTED}@host/zero",
        f"redis://me:{PLANTED}@host/0?ssl_ca_certs=x",
        f"redis://me:{PLANTED}@host/0#x",
        f"unix://me:{PLANTED}@?db=1",
    ],
)
def test_no_password_is_ever_shown(url: str, tmp_path: Path) -> None:
    assert PLANTED not in shown(url)
    with contextlib.suppress(StoreError):
        assert PLANTED not in parse(url, tmp_path).shown
    try:
        parse(url, tmp_path)
    except StoreError as error:
        assert PLANTED not in str(error)
        assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("redis://host:port", "no address of a Redis server"),
        ("redis://host/first", "a database is named by its number"),
        (
            "redis://host?colour=red",
            r"there is no option 'colour'.*there are db, password_file, ssl_ca_certs",
        ),
        ("redis://host?password=x", "write the password before the host"),
        ("redis://host?ssl_ca_certs=x", "need TLS: write rediss://"),
        ("rediss://host?ssl_ca_certs=nowhere.pem", "ssl_ca_certs names no file"),
        ("rediss://host?ssl_cert_reqs=maybe", "must be required or none, not 'maybe'"),
        ("unix://", "names no socket"),
        ("redis://host/0#7", "must be written %23"),
    ],
)
def test_addresses_that_mean_nothing(url: str, pattern: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=pattern):
        parse(url, tmp_path)


# --- servers that cannot serve ---------------------------------------------------------------------------------


def test_nobody_is_there(tmp_path: Path) -> None:
    fails(
        f"redis://me:{PLANTED}@127.0.0.1:{free_port()}", "no Redis server is running at redis://me@127.0.0.1"
    )
    fails(f"unix://{tmp_path}/none", "no Redis server is running at unix://")


def test_a_password_that_is_wrong_missing_or_too_many(start: Callable[..., RedisServer]) -> None:
    server = start(requirepass="right")
    fails(server.tcp_url, "wants a password; give it in the address")
    fails(f"redis://:{PLANTED}@127.0.0.1:{server.port}", "refuses this user and password")
    fails(f"redis://nobody:{PLANTED}@127.0.0.1:{server.port}", "refuses this user and password")
    with closing(RedisStore(f"redis://:right@127.0.0.1:{server.port}/2")) as store:
        append(store)
        assert store.url == f"redis://127.0.0.1:{server.port}/2"
    open_one = start()
    fails(f"redis://:{PLANTED}@127.0.0.1:{open_one.port}", "has no password set, and was given one")


def test_a_server_that_throws_keys_away(start: Callable[..., RedisServer]) -> None:
    server = start(maxmemory="100mb", maxmemory_policy="allkeys-lru")
    fails(server.url, r"throws keys away .*\(maxmemory-policy allkeys-lru\).*noeviction")


def test_a_server_out_of_memory(start: Callable[..., RedisServer]) -> None:
    server = start()
    with closing(RedisStore(server.url)) as store, closing(server.client()) as client:
        append(store)
        lease = store.acquire("lead", "me", 60.0)
        assert lease is not None
        client.config_set("maxmemory", "1")
        for act in (
            lambda: append(store),
            lambda: store.renew(lease, 60.0),
            lambda: store.acquire("other", "me", 60.0),
            lambda: store.put_blob(b"x"),
        ):
            with pytest.raises(
                StoreFull, match=r"out of memory .* raise it, or remove sweeps with `sweep rm`"
            ):
                act()
        assert store.position("s") == 1
        client.config_set("maxmemory", "0")
        append(store)
        assert store.renew(lease, 60.0) is not None


def test_a_read_only_replica(start: Callable[..., RedisServer]) -> None:
    primary = start()
    replica = start()
    with closing(replica.client()) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))
    with closing(RedisStore(primary.url)) as store:
        append(store, sweep="another")  # whether the replica has it already or not, it is asked to write
    fails(replica.url, "read-only replica; name its primary server")


def test_a_sentinel(start: Callable[..., RedisServer], tmp_path: Path) -> None:
    port, config = free_port(), tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n")
    with (tmp_path / "log").open("wb") as log:
        command = [find_server(), str(config), "--sentinel"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with pytest.raises(
            StoreError, match="is a Redis Sentinel, which keeps no data itself; name the primary"
        ):
            RedisStore(f"redis://127.0.0.1:{port}", patience_s=60.0)
    finally:
        process.kill()
        process.wait()


def test_a_node_of_a_cluster_is_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    cluster = RedisCluster(tmp_path_factory.mktemp("c"))
    try:
        port = cluster.servers[1].port
        with closing(RedisStore(cluster.url, patience_s=60.0)) as store:  # it may still be coming up
            for number in range(20):
                append(store, sweep=f"s{number}")
        with closing(RedisStore(cluster.url, patience_s=0.05)) as store:
            cluster.servers[1].kill()
            said = set()
            for number in range(20):
                try:
                    append(store, sweep=f"s{number}")
                except StoreError as error:
                    said.add(str(error))
        [words] = said
        assert words.startswith(
            f"the node 127.0.0.1:{port} of the Redis cluster {cluster.url} cannot be reached (Connection refused"
        )
        assert words.endswith("); start it again, or have the cluster replace it")
    finally:
        cluster.kill()


def test_a_user_who_may_too_little(start: Callable[..., RedisServer]) -> None:
    server = start(appendonly="yes", appendfsync="everysec")
    with closing(server.client()) as client:
        client.execute_command(
            "ACL", "SETUSER", "me", "on", f">{PLANTED}", "~sweep:*", "+@read", "+@write", "+info"
        )
        client.execute_command("ACL", "SETUSER", "other", "on", f">{PLANTED}", "~other:*", "+@all")
        client.execute_command(
            "ACL",
            "SETUSER",
            "fine",
            "on",
            ">pw",
            "~sweep:*",
            "resetchannels",
            "&sweep:*",
            "+@all",
            "-@dangerous",
            "+info",
        )
    fails(
        f"redis://me:{PLANTED}@127.0.0.1:{server.port}",
        r"does not let the user 'me' .* ACL SETUSER me ~sweep:\* resetchannels &sweep:\*",
    )
    fails(f"redis://other:{PLANTED}@127.0.0.1:{server.port}", "does not let the user 'other'")
    with closing(RedisStore(f"redis://fine:pw@127.0.0.1:{server.port}")) as store:
        work(store, range(3))
        store.compact()
        assert [chunk.count for chunk in store.read_history("s", 1)] == [4]
        assert store.blobs(60.0) == {}
        listener = store.listener("s", "a")
        assert hears(listener)
        store.append("s", [assigned("a")], writer="w", first_seq=7)
        assert hears(listener)
        listener.close()
        store.delete_sweep("s")
        told = "survives when the Redis process is killed; the server does not tell this user its appendfsync"
        assert told in store.describe()["durability"]
    with closing(server.client()) as client:
        client.execute_command("ACL", "SETUSER", "fine", "-info")
    with closing(RedisStore(f"redis://fine:pw@127.0.0.1:{server.port}")) as store:
        work(store, range(3))
        assert "does not let this user ask INFO" in store.describe()["durability"]


def test_a_server_that_is_too_old() -> None:
    address = parse("redis://host", Path.cwd())
    with pytest.raises(StoreError, match=r"too old: it is version 6\.0\.16, sweep needs 6\.2 or newer"):
        words.refuse_unfit(words.parse_info(b"# Server\r\nredis_version:6.0.16\r\n"), address)
    words.refuse_unfit(words.parse_info(b"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"), address)


def test_what_another_version_wrote(store: RedisStore, redis_server: RedisServer) -> None:
    append(store)
    with closing(redis_server.client()) as client:
        client.hset("sweep:{sweeps}:about", "format", "2")
    fails(redis_server.url, r"another version of sweep \(its format is 2, this version knows 1\)")


# --- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key in the same file."""
    file = tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    try:
        done = subprocess.run(
            [*command, "-keyout", str(file), "-out", f"{file}.crt"], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("openssl, which makes the certificate, is not installed")
    assert done.returncode == 0, done.stderr
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


def test_tls(redis_server: RedisServer, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    port = free_port()
    proxy = Proxy(redis_server, port, context)
    try:
        url = f"rediss://127.0.0.1:{port}"
        with closing(RedisStore(f"{url}?ssl_ca_certs={certificate}.crt")) as store:
            append(store)
            assert store.position("s") == 1
        fails(url, "no TLS connection .* name the file of the authority .*ssl_ca_certs=FILE")
        named = f"rediss://localhost:{port}?ssl_ca_certs={certificate}.crt"
        fails(named, r"its certificate is not one of 'localhost'; .* the name in the certificate$")
        fails(f"redis://127.0.0.1:{port}", "Redis server redis://127.0.0.1")
        with closing(RedisStore(f"{url}?ssl_cert_reqs=none")) as store:
            assert store.position("s") == 1
        with pytest.raises(StoreError, match="speak TLS at this port"):
            RedisStore(f"rediss://127.0.0.1:{redis_server.port}", patience_s=0.1, answer_s=0.3)
    finally:
        proxy.close()


def test_a_certificate_that_has_expired_is_not_the_authoritys_fault() -> None:
    said = "Error 1 connecting to h:6379. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1000)."
    told = words.in_words(ConnectionError(said), parse("rediss://h", Path.cwd()))
    assert str(told) == (
        "no TLS connection to the Redis server rediss://h: certificate verify failed: certificate has expired; it needs a new one, or "
        "this machine's clock is wrong"
    )


# --- reconnecting ----------------------------------------------------------------------------------------------


def test_an_append_whose_answer_was_lost_is_there_once(redis_server: RedisServer, tmp_path: Path) -> None:
    proxy = Proxy(redis_server, redis_server.folder / "p")
    try:
        with closing(RedisStore(f"unix://{redis_server.folder}/p")) as store:
            append(store, 2)
            proxy.lose_next = True
            store.append("s", [PAUSE] * 3, writer="w", first_seq=3)
            assert [recorded.seq for recorded in store.read("s", 0)] == [1, 2, 3, 4, 5]
            proxy.lose_next = True
            lease = store.acquire("lead", "me", 60.0)
            assert lease is not None, "asked again, the first answer counts"
            assert store.leases("") == [lease]
            proxy.lose_next = True
            store.append_history("s", [HistoryChunk(1, 1, 0, 2, b"{}\n{}")])
            assert [chunk.count for chunk in store.read_history("s", 1)] == [2]
    finally:
        proxy.close()
        (redis_server.folder / "p").unlink()


def test_a_server_that_is_gone_for_a_moment(start: Callable[..., RedisServer]) -> None:
    server = start(appendonly="yes", appendfsync="always")
    with closing(RedisStore(server.url, patience_s=60.0)) as store:
        append(store, 3)
        lease = store.acquire(controller_lease("s"), "me", 600.0)
        server.kill()
        later = threading.Timer(0.3, lambda: server.start(wait=False))
        later.start()
        store.append("s", [PAUSE], writer="w", first_seq=4, fence=lease)
        later.join()
        assert store.position("s") == 4
        assert store.leases("") == [lease]


def test_a_server_that_stays_away(start: Callable[..., RedisServer]) -> None:
    server = start(appendonly="yes", appendfsync="always")
    with closing(RedisStore(server.url, patience_s=0.1)) as store:
        append(store, 3)
        server.kill()
        for _ in range(3):
            with pytest.raises(StoreError, match="no Redis server is running"):
                append(store)
        assert store.clock() > 0, "the clock goes on"
        server.start()
        append(store)
        assert [recorded.seq for recorded in store.read("s", 0)] == [1, 2, 3, 4]


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_what_was_acknowledged_survives_a_kill(fsync: str, start: Callable[..., RedisServer]) -> None:
    server = start(appendonly="yes", appendfsync=fsync)
    acknowledged: list[int] = []

    def write(name: int) -> None:
        with closing(RedisStore(server.url, patience_s=60.0)) as store, contextlib.suppress(StoreError):
            for seq in range(1, 250):
                store.append("s", [PAUSE], writer=f"w{name}", first_seq=seq)
                store.append_history("s", [HistoryChunk(name, 1, seq - 1, 1, b"%d" % seq)])
                if name == 0:
                    acknowledged.append(seq)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        before = len(acknowledged)
        while len(acknowledged) < before + 40 and threads[0].is_alive():
            time.sleep(0.005)
        server.kill()
        server.start()
    for thread in threads:
        thread.join()
    with closing(RedisStore(server.url)) as store:
        for name in range(3):
            seqs = [recorded.seq for recorded in store.read("s", 0) if recorded.writer == f"w{name}"]
            assert seqs == list(range(1, 250))
            rows = b"\n".join(chunk.data for chunk in store.read_history("s", name)).split()
            assert rows == [b"%d" % seq for seq in range(1, 250)]


def test_what_was_acknowledged_while_the_disk_was_syncing_survives_a_kill(
    start: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """With `everysec` Redis answers then before it has written. The disk is made slow: an fsync takes a second and a half."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, and LD_PRELOAD")
    slow = tmp_path / "slow.c"
    slow.write_text(
        "#include <unistd.h>\n#include <sys/syscall.h>\n"
        "int fdatasync(int fd) { usleep(1500000); return syscall(SYS_fdatasync, fd); }\n"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "slow.so", slow], check=True)
    server = start(appendonly="yes", appendfsync="everysec")
    server.kill()
    server.env = {**os.environ, "LD_PRELOAD": str(tmp_path / "slow.so")}
    server.start()
    with closing(RedisStore(server.url)) as store, closing(server.client()) as client:
        seq, deadline_s = 0, time.monotonic() + 60
        while not client.info("persistence")["aof_pending_bio_fsync"]:
            assert time.monotonic() < deadline_s, "it never syncs"
            seq += 1
            store.append("s", [PAUSE], writer="w", first_seq=seq)
            time.sleep(0.02)
        store.append("s", [PAUSE], writer="w", first_seq=seq + 1)
        store.append_history("s", [HistoryChunk(1, 1, 0, 1, b"{}")])
        digest = store.put_blob(b"kept")
        lease = store.acquire("controller/s", "me", 600.0)
        server.kill()
    server.env = None
    server.start()
    with closing(RedisStore(server.url)) as store:
        assert store.last_seq("s", "w") == seq + 1
        assert len(store.read_history("s", 1)) == 1
        assert store.get_blob(digest) == b"kept"
        assert store.leases("") == [lease]


def test_the_server_forgot_its_scripts(store: RedisStore, redis_server: RedisServer) -> None:
    append(store)
    with closing(redis_server.client()) as client:
        client.script_flush()
    append(store)
    assert store.position("s") == 2


def test_a_controller_gets_its_turn(redis_server: RedisServer) -> None:
    """However fast others write: between its reading and its append there is a time when nobody does."""
    done = threading.Event()

    def write(name: int) -> None:
        with closing(RedisStore(redis_server.url)) as store:
            seq = 0
            while not done.is_set():
                seq += 1
                store.append("s", [PAUSE], writer=f"w{name}", first_seq=seq)

    with closing(RedisStore(redis_server.url)) as store:
        append(store)
        lease = store.acquire(controller_lease("s"), "me", 600.0)
        threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        decided = rounds = 0
        while decided < 10 and rounds < 2000:
            rounds += 1
            position = store.position("s")
            time.sleep(0.002)  # it decides
            try:
                store.append("s", [PAUSE], writer="c", first_seq=decided + 1, fence=lease, after=position)
                decided += 1
            except Moved:
                continue
        done.set()
        for thread in threads:
            thread.join()
        assert decided == 10
        seqs = [r.seq for r in store.read("s", 0) if r.writer == "w0"]
        assert seqs == list(range(1, len(seqs) + 1))


def test_a_controller_that_asked_for_a_moment_and_died_holds_nobody_up(store: RedisStore) -> None:
    append(store, 3)
    lease = store.acquire(controller_lease("s"), "me", 600.0)
    for _ in range(10):
        with pytest.raises(Moved):
            store.append("s", [PAUSE], writer="c", first_seq=1, fence=lease, after=1)
    append(store)
    assert store.position("s") == 4


# --- the clock -------------------------------------------------------------------------------------------------


def test_the_clock_is_never_behind_the_servers(store: RedisStore, redis_server: RedisServer) -> None:
    with closing(redis_server.client()) as client:
        for _ in range(50):
            seconds, micros = client.time()
            assert store.clock() >= seconds + micros / 1e6 - 0.001
    lease = store.acquire(agent_lease("a"), "a", 5.0)
    assert lease is not None
    assert lease.expires_s - store.clock() <= 5.001


def test_readings_narrow_the_clock_down_and_a_set_clock_replaces_it() -> None:
    clock, now_s = ServerClock(), machine_s()
    clock.read(1000.0, now_s - 0.5, now_s)  # a slow answer: up to half a second ahead
    assert clock.now_s() - machine_s() == pytest.approx(1000.5 - now_s)
    clock.read(1000.0, now_s - 0.01, now_s)
    assert clock.now_s() - machine_s() == pytest.approx(1000.01 - now_s)
    clock.read(1000.0, now_s - 0.4, now_s)  # slower again: what is known stays
    assert clock.now_s() - machine_s() == pytest.approx(1000.01 - now_s, abs=1e-3)
    clock.read(5000.0, now_s - 0.01, now_s)  # somebody has set the server's clock
    assert clock.now_s() - machine_s() == pytest.approx(5000.01 - now_s)


# --- news ------------------------------------------------------------------------------------------------------


def hears(listener: Listener, timeout_s: float = 30.0) -> bool:
    until_s = time.monotonic() + timeout_s
    while (left_s := until_s - time.monotonic()) > 0:
        select.select([listener], [], [], left_s)
        heard = listener.take()
        if heard.events or heard.orders or heard.unclear:
            return True
    return False


def assigned(agent: str) -> e.RunAssigned:
    return e.RunAssigned(1, 1, agent, 0, 1, 1, 0, 7, {})


def test_news_come_to_whom_they_concern(start: Callable[..., RedisServer]) -> None:
    server = start()
    with closing(RedisStore(server.url)) as store, closing(RedisStore(server.url)) as other:
        listener = listen(store, "s", "a")
        assert listener is not None
        assert hears(listener), "once it listens, for what came before"
        other.append("s", [PAUSE, assigned("b")], writer="w", first_seq=1)
        assert not hears(listener, 0.1)
        other.append("s", [assigned("a")], writer="w", first_seq=3)
        assert hears(listener)
        server.kill()
        server.start()
        assert hears(listener), "it listens again"
        listener.leading = True
        for seq in range(1, 1000):  # it takes a moment until it hears of events as well
            other.append("s", [PAUSE], writer="x", first_seq=seq)
            if hears(listener, 0.05):
                break
        else:
            pytest.fail("a controller hears of no events")
        listener.close()
    assert listen(MemoryStore(), "s", "a") is None


# --- what is packed away ---------------------------------------------------------------------------------------


def ended(run: int, attempt: int = 1) -> e.AttemptEnded:
    return e.AttemptEnded(run, attempt, "a", "completed", rows=3)


def rows(first: int, count: int, mark: str) -> bytes:
    return b"\n".join(b'{"i":%d,"m":"%s"}' % (row, mark.encode()) for row in range(first, first + count))


def work(store: RedisStore, runs: range, attempt: int = 1) -> None:
    """Runs that report and end, as an agent writes them."""
    for run in runs:
        for first in (0, 2):
            data = rows(first, 2, f"{run}.{attempt}")
            store.append_history("s", [HistoryChunk(run, attempt, first, 2, data)])
        entries: list[e.AnyEntry] = [
            e.RunAssigned(run, attempt, "a", 0, 1, run, 0, 7, {}),
            ended(run, attempt),
        ]
        position = store.position("s")
        index = IndexUpdate(
            position + 2, {f"run/{run:010d}": b"row of %d.%d" % (run, attempt), "sweep": b"x"}
        )
        seq = store.last_seq("s", "w") + 1
        store.append("s", entries, writer="w", first_seq=seq, index=index)


def packed(store: RedisStore, **settings: int) -> RedisStore:
    for name, value in settings.items():
        setattr(store._tidy, name, value)
    return store


def contents(store: Any, runs: int) -> list[Any]:
    found: list[Any] = [store.read("s", 0), store.read("s", 7), store.read("s", 3, limit=9)]
    found += [store.read("s", 5, addressee="a"), store.read("s", 0, addressee="a", limit=3)]
    found += [store.read_index("s"), store.read_index("s", "run/0000000003"), store.read_index("s", "sweep")]
    for run in range(runs):
        found.append(b"\n".join(chunk.data for chunk in store.read_history("s", run)))
    return found


def test_packing_changes_nothing_that_can_be_read(store: RedisStore, redis_server: RedisServer) -> None:
    work(store, range(150))
    before = contents(store, 150)
    with closing(redis_server.client()) as client:
        keys = Keys("s")
        assert client.xlen(keys.log) == 300
        store.compact()
        assert client.xlen(keys.log) == 0
        assert client.hlen(keys.rows) == 0
        assert not client.keys(keys.prefix.replace("{", "\\{") + "h:*")
        assert contents(store, 150) == before
        with closing(
            packed(RedisStore(redis_server.url), segment=20, pack_at=10, hot_rows=5, busy_block=3)
        ) as other:
            work(other, range(150, 200))
            work(other, range(20, 60), attempt=2)
            assert client.xlen(keys.log) <= 20
    found = contents(store, 200)
    assert [recorded.position for recorded in found[0]] == list(range(1, 481))
    assert [chunk.attempt for chunk in store.read_history("s", 25)] == [1, 2]
    assert store.read_index("s", "run/0000000025").rows == {"run/0000000025": b"row of 25.2"}
    assert len(store.read_index("s", "run/").rows) == 200
    assert len(store.read("s", 0, addressee="a")) == 240


def test_late_rows_of_a_packed_run_are_there_once(store: RedisStore) -> None:
    work(store, range(3))
    store.compact()
    store.append_history("s", [HistoryChunk(1, 1, 0, 6, rows(0, 6, "late"))])
    found = b"\n".join(chunk.data for chunk in store.read_history("s", 1)).split(b"\n")
    assert found == rows(0, 4, "1.1").split(b"\n") + rows(4, 2, "late").split(b"\n")
    store.append("s", [ended(1)], writer="w", first_seq=7)
    store.compact()
    assert b"\n".join(chunk.data for chunk in store.read_history("s", 1)).split(b"\n") == found


def test_long_histories_are_packed_a_few_at_a_time(store: RedisStore, redis_server: RedisServer) -> None:
    for run in range(7):
        line = b'{"m":"%d"}' % run * (50_000 if run != 3 else 1)
        for first in range(2):
            store.append_history("s", [HistoryChunk(run, 1, first, 1, line)])
        store.append("s", [ended(run)], writer="w", first_seq=run + 1)
    store.compact()
    with closing(redis_server.client()) as client:
        assert client.hlen(Keys("s").history_blocks) > 1
        assert not client.keys("*:h:*")
    for run in range(7):
        (chunk,) = store.read_history("s", run)
        assert chunk.count == 2 and chunk.data.startswith(b'{"m":"%d"}' % run)


def test_two_who_pack_at_once_lose_nothing(redis_server: RedisServer) -> None:
    def write(name: int) -> None:
        with closing(packed(RedisStore(redis_server.url), segment=10, pack_at=5)) as store:
            for seq in range(1, 151):
                run = name * 1000 + seq
                store.append_history("s", [HistoryChunk(run, 1, 0, 2, rows(0, 2, str(run)))])
                store.append("s", [ended(run)], writer=f"w{name}", first_seq=seq)
                if seq % 10 == 0:
                    store._tidy.whole("s")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(RedisStore(redis_server.url)) as store:
        read = store.read("s", 0)
        assert [recorded.position for recorded in read] == list(range(1, 451))
        for recorded in read:
            assert isinstance(recorded.entry, e.AttemptEnded)
            run = recorded.entry.run
            assert [chunk.data for chunk in store.read_history("s", run)] == [rows(0, 2, str(run))]


def test_a_removed_sweep_leaves_no_key(store: RedisStore, redis_server: RedisServer) -> None:
    work(store, range(140))
    store.compact()
    work(store, range(140, 145))
    store.put_cache("s", "c", b"x")
    lease = store.acquire(controller_lease("s"), "me", 60.0)
    assert lease is not None
    store.delete_sweep("s")
    with closing(redis_server.client()) as client:
        left = [key for key in client.keys("*") if b"id/s" in key]
        assert left == [Keys("s").leases.encode()]
        assert client.ttl(left[0]) > 0, "and that one goes by itself"


def test_damage_is_noticed(store: RedisStore, redis_server: RedisServer) -> None:
    append(store, 3)
    store.compact()
    digest = store.put_blob(b"x" * 1000)
    with closing(redis_server.client()) as client:
        client.delete(Keys("s").segments)
        client.xadd(Keys("s").segments, {"s": b"rubbish"}, id="3-0")
        client.set(f"sweep:blob:{digest}", b"\1rubbish")
    with pytest.raises(StoreError, match="sweep s: the journal up to entry 3 is damaged"):
        store.read("s", 0)
    with pytest.raises(StoreError, match="is damaged"):
        store.get_blob(digest)


def test_many_small_rows_are_written_as_a_whole_index(store: RedisStore) -> None:
    index = Index(5, {f"run/{run:010d}": b"%d" % run for run in range(1000)} | {"sweep": b"s"})
    store.write_index("s", index)
    assert store.read_index("s") == index


def test_a_run_with_ten_reports_takes_less_than_a_kilobyte(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run as agents record it, with its own values, command line and environment; all told, when the agents have gone."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from recorded import record, spec

    runs = 800
    with closing(RedisStore(redis_server.url)) as store:  # the server's scripts, once and for all sweeps
        record(store, "first", spec(20), 10, slots=16, history=10, varied=True)
        store.compact()
        store.delete_sweep("first")
    with closing(redis_server.client()) as client:
        before = client.info("memory")["used_memory"]
        with closing(RedisStore(redis_server.url)) as store:
            record(store, "s", spec(runs), 10, slots=16, history=10, varied=True)
        used = client.info("memory")["used_memory"] - before
    assert used / runs < 1024
    with closing(RedisStore(redis_server.url)) as store:
        assert len(store.read_index("s", "run/").rows) == runs
        for run in (0, runs // 2, runs - 1):
            assert sum(chunk.count for chunk in store.read_history("s", run)) == 10


def test_describe(store: RedisStore, start: Callable[..., RedisServer]) -> None:
    assert "snapshots" in store.describe()["durability"]
    for fsync, part in (("always", "survives a crash and a power cut"), ("everysec", "appendfsync everysec")):
        with closing(RedisStore(start(appendonly="yes", appendfsync=fsync).url)) as other:
            described = other.describe()
            assert part in described["durability"]
            assert described["server"].startswith(("Redis ", "Valkey "))
            assert 0 < described["round_trip_s"] < 60


def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['redis'] = None\nfrom sweep.cli import main\nmain(['ls'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SWEEP_STORE": f"redis://:{PLANTED}@127.0.0.1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "sweep: a store on a Redis server needs the package `redis`: pip install 'sweep[redis]'\n"
    )


def test_opening_by_url(redis_server: RedisServer, tmp_path: Path) -> None:
    with closing(open_store(redis_server.url, tmp_path, create=True)) as store:
        assert isinstance(store, RedisStore)
        assert store.sweeps() == []
    with closing(open_store(redis_server.tcp_url, tmp_path)) as store:
        assert store.url == redis_server.tcp_url


def test_a_server_that_has_lost_what_somebody_wrote_says_so_although_others_went_on(
    store: RedisStore,
) -> None:
    for writer in ("w", "other"):
        store.append("s", [e.PauseRequested("p")] * 3, writer=writer, first_seq=1)
    assert store.append("s", [e.PauseRequested("p")], writer="w", first_seq=4, existing=True).last == 7
    with pytest.raises(EntriesLost, match="it had 8 of this agent, and has 4"):
        store.append("s", [e.PauseRequested("p")], writer="w", first_seq=9, existing=True)
    assert store.position("s") == 7
