from __future__ import annotations

import asyncio
import socket

import pytest

from router.errors import (
    BadUpstream,
    RouterError,
    ShuttingDown,
    UpstreamConnectFailed,
    UpstreamReset,
    UpstreamTimeout,
    UpstreamTruncated,
)
from router.upstream import Upstream
from router.upstream_connection import HIGH_WATER_BYTES
from tests.support.scripted_server import Peer, answer, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
HEAD = b"HTTP/1.1 200 OK\r\n"
BIG = b"x" * (32 << 20)
"""More than the kernel takes on loopback when nobody reads."""


async def failure(upstream: Upstream, url: str, *, head_timeout_s: float | None = 5) -> tuple[RouterError, bytes]:
    """The error a request ends in, and the bytes that came before it."""
    seen = b""
    try:
        async with await upstream.request(url, "POST", "/x", {}, b"{}", head_timeout_s=head_timeout_s) as response:
            while data := await response.chunk():
                seen += data
    except RouterError as error:
        assert upstream.connections_in_use == 0
        return error, seen
    raise AssertionError("the request succeeded")


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_refused_connection_fails_before_anything_was_sent() -> None:
    error, _ = await failure(Upstream(), f"http://127.0.0.1:{unused_port()}")
    assert isinstance(error, UpstreamConnectFailed)
    assert (error.status, error.code, error.before_response, error.retryable) == (502, "upstream_error", True, True)
    assert "127.0.0.1" in error.detail
    assert "127.0.0.1" not in error.message


async def test_a_worker_that_never_shakes_hands_fails_at_the_connect_timeout() -> None:
    async def mute(peer: Peer) -> None:
        await peer.until_closed()

    upstream = Upstream(connect_timeout_s=0.05)
    async with serving(mute) as server:
        error, _ = await failure(upstream, server.url.replace("http:", "https:"))
        assert isinstance(error, UpstreamConnectFailed)
        assert "0.05 s" in error.detail


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_fresh_connection_lost_without_an_answer_is_the_callers_to_retry(how: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if how == "rst":
            peer.reset()

    upstream = Upstream()
    async with serving(script) as server:
        error, _ = await failure(upstream, server.url)
        assert isinstance(error, UpstreamReset)
        assert (error.before_response, server.accepted) == (True, 1)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 10\r\n\r\nhello",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"transfer-encoding: chunked\r\n\r\na\r\nhello",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
async def test_a_body_cut_short_is_handed_out_and_then_fails(framing: bytes, how: str) -> None:
    taken = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + framing)
        await taken.wait()
        if how == "rst":
            peer.reset()

    upstream = Upstream()
    async with (
        serving(script) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        assert await response.chunk() == b"hello"
        taken.set()
        with pytest.raises(UpstreamTruncated):
            await response.chunk()
        assert not response.ended
    assert upstream.connections_in_use == 0


async def test_a_reset_is_no_end_even_where_only_the_connection_ends_the_body() -> None:
    taken = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"connection: close\r\n\r\nhello")
        await taken.wait()
        peer.reset()

    upstream = Upstream()
    async with (
        serving(script) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        assert await response.chunk() == b"hello"
        taken.set()
        with pytest.raises(UpstreamTruncated):
            await response.chunk()


async def test_a_head_cut_short_is_truncated_and_not_retried() -> None:
    upstream = Upstream()
    async with serving(answer(b"HTTP/1.1 200 OK\r\ncontent-le")) as server:
        error, _ = await failure(upstream, server.url)
        assert isinstance(error, UpstreamTruncated)
        assert not error.before_response


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\nbare: lf\n\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
        b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 40_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 40_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 80_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 80_000,
    ],
)
async def test_what_is_not_a_proper_answer_is_bad_upstream_and_closes_the_connection(raw: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(raw)
        await peer.until_closed()

    upstream = Upstream()
    async with serving(script) as server:
        error, _ = await failure(upstream, server.url)
        assert isinstance(error, BadUpstream)
        assert (error.status, error.code) == (502, "upstream_error")
        assert error.detail


async def test_an_answer_too_long_for_read_is_cut_off() -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"connection: close\r\n\r\n")
        try:
            while True:
                peer.send(b"x" * 65536)
                await peer.writer.drain()
        except ConnectionError:
            return

    upstream = Upstream()
    async with (
        serving(endless) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        with pytest.raises(BadUpstream, match="100000 bytes"):
            await response.read(100_000)
    assert upstream.connections_in_use == 0


async def test_no_head_in_time_is_a_timeout_before_any_response() -> None:
    async def mute(peer: Peer) -> None:
        await peer.request()
        await peer.until_closed()

    upstream = Upstream()
    async with serving(mute) as server:
        error, _ = await failure(upstream, server.url, head_timeout_s=0.02)
        assert isinstance(error, UpstreamTimeout)
        assert (error.status, error.code, error.before_response) == (504, "upstream_timeout", True)


async def test_silence_inside_a_body_is_a_timeout() -> None:
    async def stall(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"content-length: 10\r\n\r\nhello")
        await peer.until_closed()

    upstream = Upstream(idle_timeout_s=0.02)
    async with serving(stall) as server:
        error, seen = await failure(upstream, server.url)
        assert isinstance(error, UpstreamTimeout)
        assert (error.before_response, error.reason, seen) == (False, "stalled", b"hello")


async def test_a_worker_that_takes_no_more_of_the_request_is_a_timeout() -> None:
    release = asyncio.Event()

    async def deaf(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await release.wait()

    upstream = Upstream(idle_timeout_s=0.05)
    async with serving(deaf) as server:
        with pytest.raises(UpstreamTimeout) as caught:
            await upstream.request(server.url, "POST", "/x", {}, BIG, head_timeout_s=None)
        assert caught.value.before_response
        release.set()
    assert upstream.connections_in_use == 0


async def test_an_answer_before_the_whole_request_is_taken_is_read_but_not_pooled() -> None:
    raw = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 4\r\n\r\nmuch"
    closed = asyncio.Event()

    async def refuse(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(raw)
        await closed.wait()

    upstream = Upstream()
    async with serving(refuse, answer(OK)) as server:
        async with await upstream.request(server.url, "POST", "/x", {}, BIG, head_timeout_s=5) as response:
            assert (response.status, await response.read(10)) == (413, b"much")
        closed.set()
        async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
            assert response.status == 200
        assert upstream.connections_reused == 0
    await upstream.close()


async def test_cancelling_a_request_closes_its_connection_at_once() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def mute(peer: Peer) -> None:
        await peer.request()
        asked.set()
        assert await peer.until_closed() == b""
        closed.set()

    upstream = Upstream()
    async with serving(mute, answer(OK)) as server:
        task = asyncio.ensure_future(upstream.request(server.url, "GET", "/x", {}, head_timeout_s=None))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert upstream.connections_in_use == 0
        await closed.wait()
        async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
            assert await response.read(10) == b"hello"
        assert upstream.connections_reused == 0
    await upstream.close()


async def test_cancelling_a_chunk_loses_no_byte() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"content-length: 5\r\n\r\n")
        await go_on.wait()
        peer.send(b"hello")

    upstream = Upstream()
    async with (
        serving(script) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        waiting = asyncio.ensure_future(response.chunk())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        assert await response.read(10) == b"hello"
    await upstream.close()


async def test_leaving_the_block_before_the_end_closes_the_connection_at_once() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"content-length: 10\r\n\r\nhello")
        await peer.until_closed()
        closed.set()

    upstream = Upstream()
    async with serving(script) as server:
        async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
            assert await response.chunk() == b"hello"
        await closed.wait()
        with pytest.raises(UpstreamTruncated, match="aborted"):
            await response.chunk()
    assert upstream.connections_in_use == 0


async def test_an_aborted_body_without_framing_does_not_look_finished() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"connection: close\r\n\r\nhello")
        await peer.until_closed()

    upstream = Upstream()
    async with (
        serving(script) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        response.abort()
        with pytest.raises(UpstreamTruncated):
            await response.chunk()
        assert not response.ended


async def test_two_tasks_cannot_read_one_response() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"content-length: 10\r\n\r\n")
        await peer.until_closed()

    upstream = Upstream()
    async with (
        serving(script) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        first = asyncio.ensure_future(response.chunk())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks"):
            await response.chunk()
        first.cancel()


async def test_close_ends_idle_and_busy_connections_and_refuses_new_requests() -> None:
    busy_closed, idle_closed = asyncio.Event(), asyncio.Event()

    async def busy(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"content-length: 10\r\n\r\n")
        await peer.until_closed()
        busy_closed.set()

    async def idle(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.until_closed()
        idle_closed.set()

    upstream = Upstream()
    async with serving(busy, idle) as server:
        response = await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5)
        async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as other:
            await other.read(10)
        assert upstream.connections_in_use == 1
        await upstream.close()
        with pytest.raises(ShuttingDown):
            await response.chunk()
        with pytest.raises(ShuttingDown):
            await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5)
        await busy_closed.wait()
        await idle_closed.wait()
    assert upstream.connections_in_use == 0


async def test_cancelling_while_connecting_closes_the_socket() -> None:
    accepted, closed = asyncio.Event(), asyncio.Event()

    async def never_shakes_hands(peer: Peer) -> None:
        accepted.set()
        await peer.until_closed()
        closed.set()

    upstream = Upstream(connect_timeout_s=60)
    async with serving(never_shakes_hands) as server:
        url = server.url.replace("http:", "https:")
        task = asyncio.ensure_future(upstream.request(url, "GET", "/x", {}, head_timeout_s=None))
        await accepted.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closed.wait()
    assert upstream.connections_opened == 0


async def test_a_connection_made_while_the_client_closes_is_not_used() -> None:
    async def unused(peer: Peer) -> None:
        assert await peer.until_closed() == b""

    upstream = Upstream()
    async with serving(unused) as server:
        task = asyncio.ensure_future(upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5))
        await asyncio.sleep(0)
        await upstream.close()
        with pytest.raises(ShuttingDown):
            await task


async def test_hanging_up_tells_the_worker_and_still_hears_its_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"content-length: 5\r\n\r\nhe")
        assert await peer.until_closed() == b""
        peer.send(b"llo")

    upstream = Upstream()
    async with serving(script, answer(OK)) as server:
        async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
            response.hang_up()
            assert await response.read(10) == b"hello"
        async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
            assert await response.read(10) == b"hello"
        assert (server.accepted, upstream.connections_reused) == (2, 0)
    await upstream.close()


async def test_giving_up_a_server_ends_what_it_was_silent_on_and_nothing_else() -> None:
    arrived = asyncio.Event()

    async def mute(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.until_closed()

    async def talkative(peer: Peer) -> None:
        await peer.request()
        while upstream.connections_in_use == 2:
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.005)
            upstream.give_up(server.url, 0.1)
        peer.send(OK)

    upstream = Upstream()
    async with serving(mute, talkative) as server:
        unanswered = asyncio.create_task(upstream.request(server.url, "POST", "/x", {}, b"{}", head_timeout_s=5))
        await arrived.wait()
        answered = await upstream.request(server.url, "POST", "/x", {}, b"{}", head_timeout_s=5)
        assert await answered.read(10) == b"hello"
        with pytest.raises(UpstreamTimeout):
            await unanswered
    await upstream.close()


async def test_a_server_that_waits_for_us_is_not_given_up() -> None:
    async with serving(answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BIG) + BIG)) as server:
        upstream = Upstream()
        response = await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5)
        async with asyncio.timeout(5):
            while response.buffered_bytes < HIGH_WATER_BYTES:  # noqa: ASYNC110 - nothing is told of it
                await asyncio.sleep(0.001)
        upstream.give_up(server.url, 0.0)
        assert len(await response.read(len(BIG))) == len(BIG)
        await upstream.close()
