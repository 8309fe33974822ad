from __future__ import annotations

import ssl

import pytest
import trustme

from router.errors import UpstreamConnectFailed, UpstreamTruncated
from router.upstream import Upstream
from tests.support.scripted_server import Peer, answer, serving

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def get(upstream: Upstream, url: str) -> bytes:
    async with await upstream.request(url, "GET", "/x", {}, head_timeout_s=5) as response:
        return await response.read(1000)


async def test_a_worker_is_reached_over_tls_and_its_connection_used_again(authority: trustme.CA) -> None:
    upstream = Upstream(ssl=client_context(authority))
    async with serving(answer(OK, times=2), tls=server_context(authority, "127.0.0.1")) as server:
        assert server.url.startswith("https://")
        assert await get(upstream, server.url) == b"hello"
        assert await get(upstream, server.url) == b"hello"
        assert (upstream.connections_opened, upstream.connections_reused) == (1, 1)
        await upstream.close()


@pytest.mark.parametrize(("name", "trusted"), [("localhost", True), ("127.0.0.1", False)])
async def test_a_certificate_of_another_name_or_authority_is_refused(
    authority: trustme.CA, name: str, trusted: bool
) -> None:
    async def nothing(peer: Peer) -> None:
        await peer.until_closed()

    upstream = Upstream(ssl=client_context(authority) if trusted else None)
    async with serving(nothing, tls=server_context(authority, name)) as server:
        with pytest.raises(UpstreamConnectFailed, match="certificate verify failed"):
            await get(upstream, server.url)
        assert upstream.connections_in_use == 0


async def test_the_name_of_the_address_is_the_one_that_is_checked(authority: trustme.CA) -> None:
    upstream = Upstream(ssl=client_context(authority))
    async with serving(answer(OK), tls=server_context(authority, "localhost"), name="localhost") as server:
        assert await get(upstream, server.url) == b"hello"
        await upstream.close()


async def test_a_body_cut_short_over_tls_is_truncated(authority: trustme.CA) -> None:
    upstream = Upstream(ssl=client_context(authority))
    short = answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
    async with serving(short, tls=server_context(authority, "127.0.0.1")) as server:
        async with await upstream.request(server.url, "GET", "/x", {}, head_timeout_s=5) as response:
            assert await response.chunk() == b"hello"
            with pytest.raises(UpstreamTruncated):
                await response.chunk()
        await upstream.close()
