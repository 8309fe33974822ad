from __future__ import annotations

import asyncio

import orjson
import pytest
from aiohttp import ClientSession, web
from fake_worker import fake_workers
from gateways import at_rest, of, serving, until

from router.app import Patience
from router.http_server import HttpServer
from router.ledger import Outcome

IMPATIENT = Patience(head_s=0.05, body_s=0.05)


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"],
    ids=["nothing", "half a head"],
)
async def test_a_head_that_does_not_arrive_closes_the_connection(sent: bytes) -> None:
    async with fake_workers(1) as [fake], serving([of(fake, "w")], patience=IMPATIENT) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        async with asyncio.timeout(5):
            await reader.read()
        assert reader.at_eof()
        writer.close()


async def test_a_second_head_is_timed_like_the_first() -> None:
    async with fake_workers(1) as [fake], serving([of(fake, "w")], patience=IMPATIENT) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /v1/mod")
        async with asyncio.timeout(5):
            await reader.read()
        assert reader.at_eof()
        writer.close()


async def test_a_head_may_be_slow_while_an_answer_is_still_on_its_way() -> None:
    async with fake_workers(1) as [fake], serving([of(fake, "w")], patience=IMPATIENT) as served:
        release = asyncio.Event()

        async def script(call) -> None:  # type: ignore[no-untyped-def]
            await release.wait()
            await call.stream()

        fake.script = script
        host, port = served.app.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = orjson.dumps({"model": "m", "prompt": "x", "stream": True})
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await fake.arrived.wait()
        await asyncio.sleep(2 * IMPATIENT.head_s)
        release.set()
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_body_that_stops_half_way_is_a_408_and_closes_the_connection() -> None:
    async with fake_workers(1) as [fake], serving([of(fake, "w")], patience=IMPATIENT) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in head
        assert (served.last.outcome, served.last.reason) == (Outcome.REJECTED, "invalid")
        writer.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_booked_as_gone() -> None:
    async with fake_workers(1) as [fake], serving([of(fake, "w")]) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await until(lambda: served.app.ledger.in_flight == 1)
        writer.transport.abort()
        await until(lambda: at_rest(served.app))
        assert served.last.outcome is Outcome.CLIENT_CANCELLED


async def test_a_bad_chunk_in_a_body_is_a_400() -> None:
    async with fake_workers(1) as [fake], serving([of(fake, "w")]) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1] == b"400"
        writer.close()


async def test_a_bug_outside_the_books_is_a_500_that_blames_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: web.BaseRequest) -> web.StreamResponse:
        raise ZeroDivisionError("a secret")

    runner = web.ServerRunner(HttpServer(broken, head_timeout_s=5))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with ClientSession() as http, http.get(f"http://{host}:{port}/") as answer:
        said = await answer.text()
    await runner.cleanup()
    assert answer.status == 500
    assert orjson.loads(said)["error"]["code"] == "internal_error"
    assert "secret" not in said
    assert [record.levelname for record in caplog.records if record.name == "tokenyard.http"] == ["ERROR"]
