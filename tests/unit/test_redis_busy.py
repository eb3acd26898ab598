"""What keeps a Redis store quick when many agents use it: few looks, short waits, and nothing done twice."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from folded import make_spec
from led import SWEEP, Led
from sweep.agents.news import GATHER_S, IDLE_POLL_S, OWED_POLL_S, POLL_S, STARTED_S, News
from sweep.agents.session import Session, Timing
from sweep.controller.ports import InlineSearch
from sweep.controller.searching import Request
from sweep.core import entries as e
from sweep.core.entries import Recorded
from sweep.core.names import controller_lease
from sweep.core.plugins import Proposals
from sweep.core.rows import SWEEP_KEY, run_key
from sweep.core.views import RunView, SweepView
from sweep.stores import Heard, Index, IndexUpdate, Lease, Moved, Told, look
from sweep.stores._redis_keys import Keys
from sweep.stores.memory import MemoryStore
from sweep.stores.redis import RedisStore
from tests.redis_server import RedisServer

PAUSE = e.PauseRequested()
encode = msgspec.msgpack.encode


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    made = RedisStore(redis_server.url)
    yield made
    made.close()


def assigned(agent: str, run: int = 1) -> e.RunAssigned:
    return e.RunAssigned(run, 1, agent, 0, 1, 1, 0, 7, {})


def until(reached: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def leads(store: RedisStore) -> Lease:
    lease = store.acquire(controller_lease("s"), "leader", 600.0)
    assert lease is not None
    return lease


# --- looking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_look_is_what_two_questions_give(store: RedisStore, packed: bool) -> None:
    plain = MemoryStore()
    for one in (store, plain):
        assert look(one, "s", 0, "a", "sweep") == ([], Index(0, {}), 0)
        entries = [PAUSE, assigned("a"), assigned("b"), PAUSE, assigned("a", 2)]
        index = IndexUpdate(4, {"sweep": b"row", "sweeping": b"not asked for"})
        one.append("s", entries, writer="w", first_seq=1, index=index)
    if packed:
        store.compact()
    for after, found in ((0, [2, 5]), (2, [5]), (5, [])):
        for one in (store, plain):
            orders, row, position = look(one, "s", after, "a", "sweep")
            assert position == 5
            assert [order.position for order in orders] == found
            assert orders == one.read("s", after, addressee="a")
            assert row == Index(4, {"sweep": b"row"})


def test_a_bare_reading_has_the_same_entries(store: RedisStore) -> None:
    entries = [assigned("a", run) for run in range(1200)]
    store.append("s", entries[:1000], writer="w", first_seq=1)
    store.compact()
    store.append("s", entries[1000:], writer="w", first_seq=1001)
    for after, limit in ((0, None), (3, 400), (499, 10), (777, None), (1100, None)):
        plain = store.read("s", after, limit=limit)
        bare = store.read("s", after, limit=limit, bare=True)
        assert [(r.position, r.at_s, r.entry) for r in bare] == [(r.position, r.at_s, r.entry) for r in plain]
        assert [r.entry for r in plain] == entries[after:][:limit]


def test_an_idle_agent_looks_seldom_where_news_come_through(redis_server: RedisServer) -> None:
    with closing(RedisStore(redis_server.url)) as store, selectors.DefaultSelector() as selector:
        news = News(selector)
        news.follow(store, "s", "a")

        def told() -> bool:
            for key, _ in selector.select(0.05):
                key.data()
            return news.pause_s(True, 60.0) == IDLE_POLL_S

        assert news.pause_s(True, 60.0) == POLL_S, "nothing has been heard yet"
        until(told)
        assert news.pause_s(False, 60.0) == OWED_POLL_S, "the controller owes an answer"
        assert news.pause_s(True, 1.0) == 0.1, "somebody must take the lead over in time"
        news.close()


def hearing(
    store: RedisStore, selector: selectors.BaseSelector, leads: bool
) -> tuple[News, Callable[[], bool]]:
    """News of agent `a`, and what waits a moment for more and says whether there are any; the journal has just been looked at, at
    100 s by a clock that stands."""
    news = News(selector)
    news.follow(store, "s", "a")

    def fresh() -> bool:
        for key, _ in selector.select(0.05):
            key.data()
        return news.fresh

    news.take(leads)
    until(lambda: fresh() and news.pause_s(True, 60.0) == IDLE_POLL_S)
    if leads:  # the subscription to events is on its way
        count = last = 0

        def told(more: int) -> bool:
            nonlocal count, last
            for _ in range(more):
                count += 1
                store.append("s", [PAUSE], writer="w", first_seq=count)
            fresh()
            last = max([last, *(one.position for one in news.take(True).events)])
            return bool(last)

        until(lambda: told(1))
        until(lambda: told(0) and last == store.position("s"))
    news.take(leads)
    news.looks(True, 60.0, 100.0)
    return news, fresh


def test_who_is_told_orders_need_not_look_so_soon(store: RedisStore) -> None:
    with selectors.DefaultSelector() as selector:
        news, fresh = hearing(store, selector, leads=False)
        assert news.due_s == 100.0 + IDLE_POLL_S
        news.stir(True, False, 100.1)
        assert news.due_s == pytest.approx(100.1 + OWED_POLL_S), "an answer is awaited"
        store.append("s", [assigned("a")], writer="c", first_seq=1)
        until(fresh)
        assert news.calls(False, 0, 100.2) and news.take(False).orders
        news.stir(False, False, 100.2)
        assert news.due_s == pytest.approx(100.2 + OWED_POLL_S), "another one is awaited"
        store.append("s", [assigned("a", 2)], writer="c", first_seq=2)
        until(fresh)
        assert news.calls(False, 0, 100.3) and news.take(False).orders
        news.stir(False, True, 100.3)
        assert news.due_s == 100.0 + IDLE_POLL_S, "in time, however much is told"
        news.stir(False, True, 100.4)
        assert news.due_s == 100.0 + IDLE_POLL_S
        news.close()


def test_a_controller_waits_a_moment_with_what_nothing_is_decided_by(store: RedisStore) -> None:
    with selectors.DefaultSelector() as selector:
        news, fresh = hearing(store, selector, leads=True)
        known = store.position("s")
        started = e.RunStarted(0, 1, "b", 7, "host", 0)
        store.append("s", [started], writer="b", first_seq=1)
        until(fresh)
        assert not news.calls(True, known, 100.2)
        assert news.due_s == pytest.approx(100.2 + STARTED_S)
        assert not news.calls(True, known, 100.21)
        assert news.calls(True, known, news.due_s), "but no longer than that"
        assert [told.entry for told in news.take(True).events] == [started]
        assert news.due_s == 100.0 + IDLE_POLL_S
        store.append("s", [started], writer="b", first_seq=2)
        until(fresh)
        assert not news.calls(True, known + 1, 100.4)
        store.append("s", [PAUSE], writer="b", first_seq=3)
        until(lambda: fresh() and news.calls(True, known + 1, 100.4))
        assert [told.entry for told in news.take(True).events] == [started, PAUSE], (
            "all of it, when it decides"
        )
        news.close()


def ended(number: int) -> e.AttemptEnded:
    return e.AttemptEnded(number, 1, "b", "completed", exit_code=0)


def test_a_controller_gathers_what_comes_thick_and_fast(store: RedisStore) -> None:
    with selectors.DefaultSelector() as selector:
        news, fresh = hearing(store, selector, leads=True)
        now_s, known = 100.0, store.position("s")

        def answer(number: int) -> None:
            """One entry is told and answered, a millisecond after the last one."""
            store.append("s", [ended(number)], writer="b", first_seq=number)
            until(lambda: fresh() or news.calls(True, known, now_s))
            assert [told.entry for told in news.take(True).events] == [ended(number)]
            news.stir(True, True, now_s)

        answer(1)
        assert not news.gathers(now_s), "the first one is answered as soon as it comes"
        for number in range(2, 50):
            now_s += 0.001
            answer(number)
            if news.gathers(now_s):
                break
        else:
            raise AssertionError("it never gathered")
        assert now_s < news.due_s <= now_s + GATHER_S
        store.append("s", [ended(100)], writer="b", first_seq=100)
        store.append("s", [ended(101)], writer="b", first_seq=101)
        assert not fresh() and not news.calls(True, known, now_s), "nothing wakes it meanwhile"
        due_s, found = news.due_s, list[e.AnyEntry]()

        def taken() -> bool:
            found.extend(told.entry for told in news.take(True).events)
            return len(found) == 2

        until(lambda: news.calls(True, known, due_s) or fresh())
        assert not news.gathers(due_s)
        until(lambda: taken() or (fresh() and taken()))
        assert found == [ended(100), ended(101)]
        news.close()


def test_a_controller_answers_at_once_what_comes_seldom_or_from_itself(store: RedisStore) -> None:
    with selectors.DefaultSelector() as selector:
        news, fresh = hearing(store, selector, leads=True)
        known = store.position("s")
        for number in range(1, 20):
            far = number < 10
            store.append("s", [ended(number)], writer="b" if far else "a", first_seq=number)
            until(fresh)
            now_s = 100.0 + number * (1.0 if far else 0.001)
            assert news.calls(True, known, now_s) and news.take(True).events
            news.stir(True, True, now_s)
            assert not news.gathers(now_s)
        news.close()


def test_that_a_run_has_started_waits_for_what_is_urgent(store: RedisStore) -> None:
    store.append("s", [PAUSE], writer="w", first_seq=1)
    session = Session(store, "s", "b", None, timing=Timing(), unix_s=time.time)
    session.join(e.AgentJoined("b", "host", 1, 2))
    session.commit()
    before, started = store.position("s"), e.RunStarted(0, 1, "b", 7, "host", 0)
    session.add(started)
    assert not session.urgent
    session.commit(heard=Heard(), later=True)
    assert session.pending and store.position("s") == before
    session.add(ended(0))
    assert session.urgent
    session.commit(heard=Heard(), later=True)
    assert not session.pending and not session.urgent
    assert [one.entry for one in store.read("s", before)] == [started, ended(0)]
    session.add(e.RunStarted(1, 1, "b", 8, "host", 1))
    session.commit()
    assert store.position("s") == before + 3, "it does not wait for ever"


def test_where_publishing_is_forbidden_an_idle_agent_looks_as_often_as_ever(
    redis_server: RedisServer,
) -> None:
    with closing(redis_server.client()) as client:
        rules = ("on", ">pw", "~sweep:*", "resetchannels", "&sweep:*", "+@all", "-publish")
        client.execute_command("ACL", "SETUSER", "mute", *rules)
        with closing(RedisStore(f"redis://mute:pw@127.0.0.1:{redis_server.port}")) as store:
            listener = store.listener("s", "mute")
            channel = Keys("s").prefix + "to:mute"
            until(lambda: dict(client.pubsub_numsub(channel))[channel.encode()] == 1)
            store.append("s", [PAUSE, assigned("mute")], writer="w", first_seq=1)
            assert [order.position for order in store.read("s", 0, addressee="mute")] == [2]
            for _ in range(20):  # also when it has had the time
                listener.take()
                time.sleep(0.01)
            assert not listener.hears
            client.publish(channel, "")  # somebody else may: then it does hear
            until(lambda: listener.take() and listener.hears)
            listener.close()
        client.execute_command("ACL", "DELUSER", "mute")


def test_what_is_told_is_what_stands_in_the_journal(redis_server: RedisServer) -> None:
    with closing(RedisStore(redis_server.url)) as store:
        listener = store.listener("s", "a")
        listener.leading = True
        until(lambda: listener.take() and listener.hears)
        events, orders, unclear = list[Recorded](), list[Told](), False

        def hear() -> None:
            nonlocal unclear
            heard = listener.take()
            events.extend(heard.events)
            orders.extend(heard.orders)
            unclear |= heard.unclear

        store.append("s", [PAUSE, e.RunStarted(0, 1, "b", 7, "höst", 0)], writer="b", first_seq=1)
        lease = leads(store)
        decisions = [assigned("a"), assigned("b"), assigned("a", 2)]
        store.append("s", decisions, writer="c", first_seq=1, fence=lease, after=2, based_on=2)
        store.append("s", [assigned("a", 3)], writer="c", first_seq=4, fence=lease, after=5, based_on=5)
        until(lambda: hear() or (len(events) >= 2 and len(orders) >= 2))
        assert events == store.read("s", 0)[:2], "what controllers write is no event"
        assert [entry for told in orders for entry in told.entries] == store.read("s", 0, addressee="a")
        assert [(told.before, told.position, told.seen) for told in orders] == [(0, 5, 2), (5, 6, 5)]
        assert not unclear
        store.append("s", [e.PauseRequested("x" * 100_000)], writer="b", first_seq=3)
        until(lambda: hear() or unclear)
        assert len(events) == 2, "what is very long must be read"
        listener.close()


def test_all_agents_hear_when_the_sweep_changes_but_not_when_a_run_does(redis_server: RedisServer) -> None:
    with closing(redis_server.client()) as client, closing(RedisStore(redis_server.url)) as store:
        store.append("s", [PAUSE], writer="w", first_seq=1)
        lease, heard = leads(store), client.pubsub()
        heard.subscribe(Keys("s").prefix + "all")
        until(heard.get_message)

        def listed(upto: int, wait_s: float = 60.0, **view: Any) -> bool:
            row = encode(SweepView(sweep="s", name="", **view))
            index = IndexUpdate(upto, {SWEEP_KEY: row})
            store.append("s", [], writer="c", first_seq=1, fence=lease, index=index, existing=True)
            return heard.get_message(timeout=wait_s) is not None

        assert listed(1, state="active")
        assert not listed(1, 0.2, state="active", counts={"running": 3})
        assert listed(1, state="paused", reason="asked for")
        assert listed(1, state="active", revision=2)
        assert not listed(1, 0.2, state="active", revision=2, trials=9)


def test_an_agent_is_settled_when_the_controller_has_seen_what_it_wrote() -> None:
    led = Led(make_spec(run_cap=4))
    session = Session(led.memory.client(), SWEEP, "a", None, timing=Timing(), unix_s=lambda: led.now)
    session.join(e.AgentJoined("a", "h", 1, 1))
    session.commit()
    assert not session.settled
    led.step()
    assert session.behind()
    session.commit()
    assert session.settled
    session.add(e.SlotOffered("a", 0, 1))
    session.commit()
    assert not session.settled


# --- a controller and many writers -----------------------------------------------------------------------------


def test_one_who_was_overtaken_learns_where_the_journal_is(store: RedisStore) -> None:
    store.append("s", [PAUSE] * 3, writer="w", first_seq=1)
    with pytest.raises(Moved) as moved:
        store.append("s", [PAUSE], writer="c", first_seq=1, after=1)
    assert moved.value.position == 3
    assert [one.position for one in moved.value.written] == [2, 3]
    assert list(moved.value.written) == store.read("s", 1)
    store.append("s", [PAUSE] * 100, writer="w", first_seq=4)
    with pytest.raises(Moved) as moved:
        store.append("s", [PAUSE], writer="c", first_seq=1, after=1)
    assert (moved.value.position, moved.value.written) == (103, []), "so much is read"


def test_others_wait_only_until_the_overtaken_controller_has_come(
    store: RedisStore, redis_server: RedisServer
) -> None:
    store.append("s", [PAUSE] * 3, writer="w", first_seq=1)
    lease = leads(store)
    with closing(redis_server.client()) as client:
        with pytest.raises(Moved):
            store.append("s", [PAUSE], writer="c", first_seq=1, fence=lease, after=1)
        assert client.hexists(Keys("s").meta, "hold")
        store.append("s", [PAUSE], writer="c", first_seq=1, fence=lease, after=3)
        assert not client.hexists(Keys("s").meta, "hold")


def test_rows_of_runs_that_go_on_are_not_packed_again_and_again(
    store: RedisStore, redis_server: RedisServer
) -> None:
    def row(run: int, state: Any) -> bytes:
        facts: dict[str, Any] = {"trial": run, "replicate": 0, "purpose": "search", "seed": 1, "config": {}}
        return encode(RunView(sweep="s", run=run, state=state, **facts))

    store._tidy.hot_rows, store._tidy.busy_block = 10, 4
    store.append("s", [PAUSE], writer="w", first_seq=1)
    lease, rows = leads(store), {run: row(run, "running") for run in range(100)}
    with closing(redis_server.client()) as client:
        keys = Keys("s")

        def listed(runs: range, state: str) -> None:
            rows.update({run: row(run, state) for run in runs})
            changed = IndexUpdate(1, {run_key(run): rows[run] for run in runs})
            store.append("s", [], writer="c", first_seq=1, fence=lease, index=changed, existing=True)

        listed(range(100), "running")
        assert client.hlen(keys.rows) == 100
        listed(range(8), "completed")
        assert client.hlen(keys.rows) == 100, "for so few it is not worth while"
        listed(range(100, 112), "completed")
        assert set(client.hkeys(keys.rows)) == {run_key(run).encode() for run in range(8, 100)}
        assert store.read_index("s", "run/").rows == {run_key(run): rows[run] for run in sorted(rows)}
        store.compact()
        assert client.hlen(keys.rows) == 0
        assert store.read_index("s", "run/").rows == {run_key(run): rows[run] for run in sorted(rows)}


def test_what_is_left_of_a_block_is_packed_when_its_last_runs_have_ended(
    store: RedisStore, redis_server: RedisServer
) -> None:
    def row(run: int, state: Any) -> bytes:
        facts: dict[str, Any] = {"trial": run, "replicate": 0, "purpose": "search", "seed": 1, "config": {}}
        return encode(RunView(sweep="s", run=run, state=state, **facts))

    store._tidy.hot_rows = 20
    store.append("s", [PAUSE], writer="w", first_seq=1)
    lease = leads(store)
    with closing(redis_server.client()) as client:
        hot = Keys("s").rows

        def listed(runs: range, state: str) -> None:
            changed = IndexUpdate(1, {run_key(run): row(run, state) for run in runs})
            store.append("s", [], writer="c", first_seq=1, fence=lease, index=changed, existing=True)

        listed(range(40), "completed")
        assert client.hlen(hot) == 0, "enough of a block"
        listed(range(40, 70), "running")
        listed(range(40, 64), "completed")  # the rest of it: fewer than are worth while otherwise
        listed(range(70, 90), "queued")
        assert set(client.hkeys(hot)) == {run_key(run).encode() for run in range(64, 90)}
        assert len(store.read_index("s", "run/").rows) == 90


def test_a_cheap_searcher_is_asked_further_ahead_while_trials_run_out() -> None:
    class Counting:
        name, version, heavy = "counting", "1", False

        def propose(self, seen: Any, n: int) -> Proposals:
            return Proposals(tuple({"x": i} for i in range(n)))

    search, spec = InlineSearch(Counting(), most=32), make_spec()  # type: ignore[arg-type]
    for asked, ahead in ((3, 8), (8, 8), (9, 16), (16, 16), (40, 32), (90, 32)):
        search.ask(spec, Request(0, asked, 1, 0), [])
        answer = search.poll()
        assert answer is not None and len(answer.proposals.configs) == asked
        assert search.lookahead == ahead
