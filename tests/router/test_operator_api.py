from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from fake_worker import FakeWorker, fake_workers
from gateways import Served, of, serving, until


@pytest.fixture
async def fake() -> AsyncIterator[FakeWorker]:
    async with fake_workers(1) as [one]:
        yield one


@pytest.fixture
async def served(fake: FakeWorker) -> AsyncIterator[Served]:
    async with serving([of(fake, "w")]) as one:
        yield one


async def get(served: Served, path: str, **headers: str) -> tuple[int, bytes]:
    async with served.http.get(served.app.operator_url + path, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_a_decision_shows_the_quote_beside_what_happened(served: Served) -> None:
    served.headers["x-request-id"] = "r-1"
    await served.events()
    status, body = await get(served, "/api/decisions/r-1")
    shown = orjson.loads(body)
    assert status == 200
    assert (shown["placement"]["prefill"], shown["outcome"]) == ("w", "completed")
    assert shown["placement"]["quote"]["ttft_s"] > 0
    assert shown["actual"]["ttft_s"] > 0
    _, listed = await get(served, "/api/decisions")
    assert [decision["id"] for decision in orjson.loads(listed)["decisions"]] == ["r-1"]


async def test_an_unknown_decision_is_a_404(served: Served) -> None:
    assert (await get(served, "/api/decisions/none"))[0] == 404


async def test_the_fleet_shows_every_worker(served: Served) -> None:
    [worker] = orjson.loads((await get(served, "/api/fleet"))[1])["workers"]
    assert (worker["name"], worker["routable"], worker["requests"]) == ("w", True, 0)
    assert worker["phases"] == ["decode", "prefill"]


async def test_the_books_balance_and_nothing_is_held_when_nothing_runs(served: Served) -> None:
    await served.events()
    await until(lambda: not served.app.upstream.connections_in_use)
    shown = orjson.loads((await get(served, "/debug/invariants"))[1])
    assert shown.pop("ok") is True
    assert all(shown.pop("identities").values())
    assert shown.pop("fleet_idle") is True
    assert set(shown.values()) == {0}


async def test_metrics_count_the_request(served: Served) -> None:
    await served.events()
    status, text = await get(served, "/metrics")
    assert status == 200
    assert b"tokenyard_requests_received_total 1.0" in text


async def test_ready_means_that_a_worker_answers_and_the_gateway_stays(fake: FakeWorker, served: Served) -> None:
    assert (await get(served, "/readyz"))[0] == 200
    await fake.die()
    await until(lambda: not served.app.dispatcher.routable("w"))
    assert await get(served, "/readyz") == (503, b"no worker answers\n")
    served.app.gateway.draining = True
    assert await get(served, "/readyz") == (503, b"draining\n")
    assert (await get(served, "/livez"))[0] == 200


async def test_the_page_shows_workers_and_requests_and_escapes_everything(fake: FakeWorker) -> None:
    async with serving([of(fake, "<b>w")]) as served:
        await served.events()
        status, html = await get(served, "/")
        assert status == 200
        assert b"&lt;b&gt;w" in html
        assert b"<b>w" not in html
        assert b"completed" in html
        [identity] = served.app.ledger.recent
        assert f'<a href="/api/decisions/{identity}">'.encode() in html


async def test_the_page_says_why_a_request_was_not_served(served: Served) -> None:
    async with served.http.post(served.app.url + "/v1/chat/completions", json=["<"]) as answer:
        assert answer.status == 400
    assert b'<span class="bad" title="the body must be ' in (await get(served, "/"))[1]


async def test_only_get_is_taken_and_errors_are_json(served: Served) -> None:
    async with served.http.post(served.app.operator_url + "/api/fleet") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
        assert (await answer.json())["error"]["code"] == "method_not_allowed"


async def test_with_a_token_everything_but_health_asks_for_it(fake: FakeWorker, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    async with serving([of(fake, "w")], operator={"token_file": str(token)}) as served:
        for path in ("/", "/metrics", "/api/fleet", "/debug/invariants", "/nowhere"):
            assert (await get(served, path))[0] == 401
        assert (await get(served, "/api/fleet", authorization="Bearer wrong"))[0] == 401
        assert (await get(served, "/api/fleet", authorization="Bearer s3cret"))[0] == 200
        assert (await get(served, "/readyz"))[0] == 200
        assert await raw_status(served, b"GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\r\n\r\n") == 401


async def raw_status(served: Served, request: bytes) -> int:
    """For bytes that no client library sends."""
    host, port = served.app.operator_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(head.split(b" ")[1])
