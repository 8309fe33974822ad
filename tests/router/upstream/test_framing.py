from __future__ import annotations

import asyncio

import pytest

from router.upstream import Upstream
from tests.support.scripted_server import Peer, answer, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;note=x\r\nllo\r\n0\r\n\r\n"
TRAILERS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-trailer: 1\r\nx-more: 2\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK

KEEPS_THE_CONNECTION = {"length": OK, "chunked": CHUNKED, "trailers": TRAILERS, "interim": INTERIM}
CLOSES_THE_CONNECTION = {"to the end": TO_THE_END, "http 1.0": OLD}
ALL = KEEPS_THE_CONNECTION | CLOSES_THE_CONNECTION


async def get(upstream: Upstream, url: str, method: str = "GET") -> tuple[int, bytes]:
    async with await upstream.request(url, method, "/x", {}, head_timeout_s=5) as response:
        return response.status, await response.read(1000)


@pytest.mark.parametrize("raw", ALL.values(), ids=ALL)
async def test_every_framing_gives_the_body(raw: bytes) -> None:
    upstream = Upstream()
    async with serving(answer(raw)) as server:
        assert await get(upstream, server.url) == (200, b"hello")
    await upstream.close()


@pytest.mark.parametrize("raw", ALL.values(), ids=ALL)
async def test_every_framing_survives_one_byte_at_a_time(raw: bytes) -> None:
    async def dribble(peer: Peer) -> None:
        await peer.request()
        await peer.send_bytewise(raw)

    upstream = Upstream()
    async with serving(dribble) as server:
        assert await get(upstream, server.url) == (200, b"hello")
    await upstream.close()


@pytest.mark.parametrize("raw", KEEPS_THE_CONNECTION.values(), ids=KEEPS_THE_CONNECTION)
async def test_a_connection_with_a_clean_answer_is_used_again(raw: bytes) -> None:
    upstream = Upstream()
    async with serving(answer(raw, times=3)) as server:
        for _ in range(3):
            async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
                assert await response.read(1000) == b"hello"
                assert "x-trailer" not in response.headers
                assert "x-more" not in response.headers
        assert server.accepted == upstream.connections_opened == 1
        assert upstream.connections_reused == 2
    await upstream.close()


@pytest.mark.parametrize("raw", CLOSES_THE_CONNECTION.values(), ids=CLOSES_THE_CONNECTION)
async def test_a_connection_the_worker_will_not_keep_is_not_kept(raw: bytes) -> None:
    upstream = Upstream()
    async with serving(answer(raw), answer(raw)) as server:
        await get(upstream, server.url)
        await get(upstream, server.url)
        assert (server.accepted, upstream.connections_reused) == (2, 0)
    await upstream.close()


async def test_a_body_that_only_the_connection_ends_is_marked_as_unframed() -> None:
    upstream = Upstream()
    async with serving(answer(TO_THE_END), answer(OK)) as server:
        for framed in (False, True):
            async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
                assert response.framed is framed
                assert await response.read(1000) == b"hello"
                assert response.ended
    await upstream.close()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_status_without_body_has_none_whatever_its_length_says(status: bytes) -> None:
    raw = b"HTTP/1.1 " + status + b"\r\ncontent-length: 5\r\n\r\n"
    upstream = Upstream()
    async with serving(answer(raw, times=2)) as server:
        assert await get(upstream, server.url) == (int(status[:3]), b"")
        assert await get(upstream, server.url) == (int(status[:3]), b"")
        assert server.accepted == 1
    await upstream.close()


async def test_the_answer_to_head_has_no_body_and_its_connection_is_not_used_again() -> None:
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    upstream = Upstream()
    async with serving(answer(raw), answer(OK)) as server:
        assert await get(upstream, server.url, "HEAD") == (200, b"")
        assert await get(upstream, server.url) == (200, b"hello")
    await upstream.close()


async def test_header_names_are_lower_case_and_repeated_ones_joined() -> None:
    raw = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nEmpty:\r\nx-a:  2 \r\nContent-Length: 0\r\n\r\n"
    upstream = Upstream()
    async with (
        serving(answer(raw)) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        assert response.headers == {"x-a": "1, 2", "empty": "", "content-length": "0"}
        assert await response.chunk() == b""
    await upstream.close()


async def test_a_redirect_is_an_answer_and_nothing_more() -> None:
    raw = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    upstream = Upstream()
    async with serving(answer(raw)) as server:
        assert await get(upstream, server.url) == (307, b"")
    await upstream.close()


async def test_chunks_come_as_soon_as_they_are_there_and_joined_when_several_are() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await go_on.wait()
        peer.send(b"1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")

    upstream = Upstream()
    async with (
        serving(script) as server,
        await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response,
    ):
        assert await response.chunk() == b"a"
        go_on.set()
        assert await response.chunk() == b"bc"
        assert await response.chunk() == b""
        assert await response.chunk() == b""
    await upstream.close()


async def test_sixteen_megabytes_arrive_whole_both_ways() -> None:
    big = bytes(range(256)) * 65536

    async def echo(peer: Peer) -> None:
        request = await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(request.body))
        peer.send(request.body)
        await peer.writer.drain()

    upstream = Upstream()
    async with (
        serving(echo) as server,
        await upstream.request(server.url, "POST", "/x", {}, big, head_timeout_s=5) as response,
    ):
        assert await response.read(len(big)) == big
    await upstream.close()
