from __future__ import annotations

import asyncio
import socket

import pytest

from router.errors import UpstreamReset, UpstreamTruncated
from router.upstream import Upstream
from tests.support.scripted_server import Peer, Received, answer, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def get(upstream: Upstream, url: str) -> bytes:
    async with await upstream.request(url, "GET", "/x", {}, head_timeout_s=5) as response:
        return await response.read(1000)


async def once_then_close_on_the_second(peer: Peer) -> None:
    await peer.request()
    peer.send(OK)
    await peer.request()


async def test_a_pooled_connection_that_dies_without_an_answer_is_replaced_once() -> None:
    upstream = Upstream()
    async with serving(once_then_close_on_the_second, answer(OK)) as server:
        assert await get(upstream, server.url) == b"hello"
        assert await get(upstream, server.url) == b"hello"
        assert (upstream.connections_opened, upstream.connections_reused) == (2, 1)
    await upstream.close()


async def test_its_replacement_is_not_replaced_again() -> None:
    async def close_at_once(peer: Peer) -> None:
        await peer.request()

    upstream = Upstream()
    async with serving(once_then_close_on_the_second, close_at_once) as server:
        assert await get(upstream, server.url) == b"hello"
        with pytest.raises(UpstreamReset):
            await get(upstream, server.url)
        assert server.accepted == 2


async def test_nothing_is_asked_twice_once_a_byte_of_the_answer_came() -> None:
    async def half_a_line(peer: Peer) -> None:
        await once_then_close_on_the_second(peer)
        peer.send(b"HTTP/1.1 2")

    upstream = Upstream()
    async with serving(half_a_line) as server:
        assert await get(upstream, server.url) == b"hello"
        with pytest.raises(UpstreamTruncated):
            await get(upstream, server.url)
        assert server.accepted == 1


async def test_a_second_answer_in_the_same_packet_is_dropped_with_its_connection() -> None:
    async def two(peer: Peer) -> None:
        await peer.request()
        peer.send(OK + OK.replace(b"hello", b"other"))
        assert await peer.until_closed() == b""

    upstream = Upstream()
    async with serving(two, answer(OK)) as server:
        assert await get(upstream, server.url) == b"hello"
        assert await get(upstream, server.url) == b"hello"
        assert (server.accepted, upstream.connections_reused) == (2, 0)
    await upstream.close()


@pytest.mark.parametrize("extra", [OK, b"garbage", b"\r\n"])
async def test_bytes_on_an_idle_connection_close_it(extra: bytes) -> None:
    taken, closed = asyncio.Event(), asyncio.Event()

    async def chatty(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await taken.wait()
        peer.send(extra)
        await peer.until_closed()
        closed.set()

    upstream = Upstream()
    async with serving(chatty, answer(OK)) as server:
        assert await get(upstream, server.url) == b"hello"
        taken.set()
        await closed.wait()
        assert await get(upstream, server.url) == b"hello"
        assert upstream.connections_reused == 0
    await upstream.close()


async def test_a_connection_idle_for_too_long_is_not_used_again() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        assert await peer.until_closed() == b""
        closed.set()

    upstream = Upstream(keep_alive_s=-1.0)  # every age is too great
    async with serving(script, answer(OK)) as server:
        assert await get(upstream, server.url) == b"hello"
        assert await get(upstream, server.url) == b"hello"
        assert (upstream.connections_opened, upstream.connections_reused) == (2, 0)
        await closed.wait()
    await upstream.close()


async def test_as_many_connections_are_opened_as_requests_run_at_once() -> None:
    started = asyncio.Semaphore(0)
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        started.release()
        await go_on.wait()
        peer.send(OK)

    upstream = Upstream()
    async with serving(*[script] * 60) as server:
        tasks = [asyncio.ensure_future(get(upstream, server.url)) for _ in range(60)]
        for _ in tasks:
            await started.acquire()
        assert upstream.connections_in_use == 60
        go_on.set()
        assert await asyncio.gather(*tasks) == [b"hello"] * 60
        assert upstream.connections_in_use == 0
    await upstream.close()


async def sent(
    url_path: str, method: str, headers: dict[str, str], body: bytes, base: str = ""
) -> tuple[Received, str]:
    seen: list[Received] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.send(OK)

    upstream = Upstream()
    async with serving(script) as server:
        url = server.url + base
        async with await upstream.request(url, method, url_path, headers, body, head_timeout_s=5) as response:
            await response.read(10)
    await upstream.close()
    return seen[0], server.url.removeprefix("http://")


async def test_a_request_goes_out_with_the_given_headers_and_the_framing_ones_only() -> None:
    request, authority = await sent("/v1/x?a=b", "POST", {"X-Request-Id": "7", "authorization": "Bearer k"}, b"{}")
    assert request.line == "POST /v1/x?a=b HTTP/1.1"
    assert request.body == b"{}"
    assert request.headers == {
        "host": authority,
        "accept-encoding": "identity",
        "X-Request-Id": "7",
        "authorization": "Bearer k",
        "content-length": "2",
    }


async def test_a_get_without_body_has_no_length_and_an_empty_post_says_zero() -> None:
    assert "content-length" not in (await sent("/", "GET", {}, b""))[0].headers
    assert (await sent("/", "POST", {}, b""))[0].headers["content-length"] == "0"


async def test_the_path_of_an_address_goes_before_every_path() -> None:
    request, _ = await sent("/v1/models", "GET", {}, b"", base="/openai/")
    assert request.line == "GET /openai/v1/models HTTP/1.1"


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nb: c"},
        {"x": "a\nb"},
        {"x": "a\rb"},
        {"x": "a\x00b"},
        {"x": "\x7f"},
        {"x": "\u0100"},
        {"x y": "a"},
        {"x\r\ny": "a"},
        {"x:": "a"},
        {"": "a"},
        {"Host": "a"},
        {"content-length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "close"},
        {"Accept-Encoding": "gzip"},
    ],
)
async def test_a_header_that_could_break_the_framing_is_never_sent(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        await Upstream().request("http://127.0.0.1:1", "GET", "/", headers, head_timeout_s=1)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "x"), ("GET", "/a b"), ("GET", "/\r\nx: y"), ("GET", ""), ("G ET", "/"), ("GET", "/é")]
)
async def test_a_request_line_that_could_break_the_framing_is_never_sent(method: str, path: str) -> None:
    with pytest.raises(ValueError, match="request line"):
        await Upstream().request("http://127.0.0.1:1", method, path, {}, head_timeout_s=1)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80", "ftp://a", "http://", "http://u:p@a", "http://a?b=c", "http://a#b", "http://exämple"]
)
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="worker address"):
        await Upstream().request(url, "GET", "/", {}, head_timeout_s=1)


async def test_an_ipv6_worker_is_reached_and_named_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    seen: list[Received] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.send(OK)

    upstream = Upstream()
    try:
        async with serving(script, host="::1") as server:
            assert await get(upstream, server.url) == b"hello"
            assert seen[0].headers["host"] == server.url.removeprefix("http://")
            assert server.url.startswith("http://[::1]:")
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    await upstream.close()


async def test_small_writes_are_not_delayed() -> None:
    upstream = Upstream()
    async with (
        serving(answer(OK)) as server,
        await upstream.request(server.url, "GET", "/", {}, head_timeout_s=5) as response,
    ):
        [connection] = upstream._origins[server.url].shelf.all
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await response.read(10)
    await upstream.close()
