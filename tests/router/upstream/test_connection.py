"""The connection alone: bytes in by hand, a transport that only remembers, a clock that only a test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import UpstreamTimeout, UpstreamTruncated
from router.upstream_connection import HIGH_WATER_BYTES, Connection, Shelf
from router.upstream_response import UpstreamResponse

HEAD = b"HTTP/1.1 200 OK\r\n"


class Socket:
    def setsockopt(self, *option: int) -> None:
        assert len(option) == 3


class Transport:
    """Also what a test asks."""

    def __init__(self) -> None:
        self.reading, self.closed, self.aborted = True, False, False
        self.written, self.unsent = b"", 0

    def get_extra_info(self, name: str) -> Socket:
        return Socket()

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Loop:
    """A loop whose time stands still until `advance`; everything else is the running one's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def call_later(self, delay_s: float, call: Callable[..., None], *args: Any) -> Timer:
        timer = Timer(self.now + delay_s, call, args)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer.at <= until]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            if not timer.cancelled:
                timer.call(*timer.args)
        self.now = until


class Timer:
    def __init__(self, at: float, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.at, self.call, self.args, self.cancelled = at, call, args, False

    def cancel(self) -> None:
        self.cancelled = True


def connected(keep_alive_s: float = 4.0) -> tuple[Connection, Transport, Loop, Shelf]:
    loop, transport, shelf = Loop(), Transport(), Shelf(keep_alive_s)
    connection = Connection(loop, shelf)  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection, transport, loop, shelf


def asked(connection: Connection, idle_timeout_s: float = 30.0) -> UpstreamResponse:
    return connection.send(b"GET / HTTP/1.1\r\n\r\n", head_only=False, idle_timeout_s=idle_timeout_s)


async def waiting(response: UpstreamResponse) -> asyncio.Task[bytes]:
    task = asyncio.ensure_future(response.chunk())
    await asyncio.sleep(0)
    return task


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.booleans(), st.data())
async def test_any_body_in_any_pieces_arrives_whole(parts: list[bytes], chunked: bool, data: st.DataObject) -> None:
    body = b"".join(parts)
    if chunked:
        framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        wire = HEAD + b"transfer-encoding: chunked\r\n\r\n" + framed
    else:
        wire = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=10)) | {0, len(wire)})
    connection, transport, _, shelf = connected()
    response = asked(connection)
    for start, end in itertools.pairwise(cuts):
        connection.data_received(wire[start:end])
    assert response.ended
    assert await response.read(1000) == body
    assert shelf.take(100.0) is connection
    assert not transport.is_closing()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.binary(max_size=300), st.booleans())
async def test_no_bytes_break_a_connection_or_end_in_success_without_an_end(noise: bytes, eof: bool) -> None:
    connection, transport, _, shelf = connected()
    response = asked(connection)
    connection.data_received(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    for at in range(0, len(noise), 7):
        if transport.is_closing():
            break
        connection.data_received(noise[at : at + 7])
    if eof and not transport.is_closing():
        connection.eof_received()
    assert response.ended <= (b"0" in noise)
    if transport.is_closing():
        assert shelf.take(100.0) is None


async def test_reading_stops_at_the_high_water_mark_and_goes_on_once_taken() -> None:
    connection, transport, _, _ = connected()
    response = asked(connection)
    connection.data_received(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * HIGH_WATER_BYTES)
    assert transport.reading
    connection.data_received(b"y")
    assert not transport.reading
    assert len(await response.chunk()) == HIGH_WATER_BYTES + 1
    assert transport.reading
    assert response.buffered_bytes == 0


async def test_a_connection_paused_at_the_end_of_an_answer_is_read_again_for_the_next() -> None:
    connection, transport, _, shelf = connected()
    response = asked(connection)
    size = HIGH_WATER_BYTES + 10
    connection.data_received(HEAD + b"content-length: %d\r\n\r\n" % size + b"x" * (size - 1))
    assert not transport.reading
    connection.data_received(b"x")
    assert transport.reading
    assert shelf.take(100.0) is connection
    again = asked(connection)
    assert len(await response.chunk()) == size  # of the old answer, and without a word to the new one
    assert not again.ended


async def test_silence_counts_from_the_last_byte() -> None:
    connection, transport, loop, _ = connected()
    response = asked(connection, idle_timeout_s=30)
    connection.data_received(HEAD + b"content-length: 9\r\n\r\n")
    task = await waiting(response)
    loop.advance(20)
    connection.data_received(b"a")
    assert await task == b"a"
    task = await waiting(response)
    loop.advance(29)
    assert not transport.aborted
    loop.advance(1)
    assert transport.aborted
    with pytest.raises(UpstreamTimeout, match="silent for 30 s"):
        await task


async def test_one_timer_serves_a_whole_stream() -> None:
    connection, _, loop, _ = connected()
    response = asked(connection)
    connection.data_received(HEAD + b"content-length: 1000\r\n\r\n")
    for _ in range(100):
        task = await waiting(response)
        connection.data_received(b"a")
        assert await task == b"a"
    assert len(loop.timers) == 1


async def test_a_slow_reader_is_not_a_silent_worker() -> None:
    connection, transport, loop, _ = connected()
    response = asked(connection, idle_timeout_s=30)
    connection.data_received(HEAD + b"content-length: 1000000\r\n\r\n")
    task = await waiting(response)
    connection.data_received(b"x" * (HIGH_WATER_BYTES + 1))
    loop.advance(300)
    assert not transport.aborted
    await task
    task = await waiting(response)
    loop.advance(29)
    assert not transport.aborted
    connection.data_received(b"y")
    assert await task == b"y"


async def test_the_allowed_silence_can_be_changed_on_the_way() -> None:
    connection, transport, loop, _ = connected()
    response = asked(connection, idle_timeout_s=120)
    connection.data_received(HEAD + b"content-length: 9\r\n\r\n")
    task = await waiting(response)
    connection.data_received(b"a")
    await task
    response.allow_silence(5)
    task = await waiting(response)
    loop.advance(5)
    assert transport.aborted
    with pytest.raises(UpstreamTimeout):
        await task


async def test_no_timer_is_left_once_an_answer_is_over() -> None:
    connection, _, loop, _ = connected()
    response = asked(connection)
    connection.data_received(HEAD + b"content-length: 1\r\n\r\n")
    task = await waiting(response)
    connection.data_received(b"a")
    await task
    assert all(timer.cancelled for timer in loop.timers)


async def test_a_request_that_is_taken_slowly_is_not_given_up() -> None:
    connection, transport, loop, _ = connected()
    transport.unsent = 1000
    response = asked(connection, idle_timeout_s=10)
    connection.pause_writing()
    for unsent in range(990, 900, -10):
        loop.advance(9)
        transport.unsent = unsent
    assert not transport.aborted
    loop.advance(25)
    assert transport.aborted
    with pytest.raises(UpstreamTimeout, match="stopped taking"):
        await response.head(None)


async def test_an_answer_before_the_request_is_out_ends_the_connection() -> None:
    connection, transport, _, shelf = connected()
    response = asked(connection)
    transport.unsent = 10
    connection.data_received(HEAD + b"content-length: 0\r\n\r\n")
    assert response.ended
    assert transport.aborted
    assert shelf.take(100.0) is None


async def test_a_shelf_gives_the_youngest_and_drops_what_is_too_old() -> None:
    _, _, _, shelf = connected(keep_alive_s=4)
    pairs = [connected() for _ in range(3)]
    for number, (connection, *_) in enumerate(pairs):
        shelf.put(connection, 10.0 + number)
    assert shelf.take(12.5) is pairs[2][0]
    shelf.put(pairs[2][0], 14.5)  # the oldest is 4.5 s old now
    assert pairs[0][1].closed
    assert shelf.take(18.0) is pairs[2][0]
    assert shelf.take(18.0) is None
    assert pairs[1][1].closed


async def test_a_lost_connection_is_off_the_shelf() -> None:
    connection, _, _, shelf = connected()
    shelf.put(connection, 100.0)
    connection.connection_lost(None)
    assert shelf.take(100.0) is None
    assert not shelf.all
    assert connection.lost.is_set()


async def test_an_abort_after_the_end_does_not_touch_the_next_answer() -> None:
    connection, transport, _, _ = connected()
    first = asked(connection)
    connection.data_received(HEAD + b"content-length: 1\r\n\r\na")
    second = asked(connection)
    first.abort()
    assert not transport.is_closing()
    connection.data_received(HEAD + b"content-length: 1\r\n\r\nb")
    assert await second.read(9) == b"b"


async def test_an_aborted_answer_stays_aborted() -> None:
    connection, transport, _, _ = connected()
    response = asked(connection)
    connection.data_received(HEAD + b"content-length: 5\r\n\r\nab")
    response.abort()
    connection.connection_lost(None)
    assert transport.aborted
    with pytest.raises(UpstreamTruncated):
        await response.chunk()
