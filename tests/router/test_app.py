from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import trustme
from builders import pool, worker
from fake_worker import FakeWorker, fake_workers
from gateways import CHAT, HELLO, of

from router.app import App, build, running
from router.config import ConfigError
from router.layout import Layout
from router.schema import Config

BASE: dict[str, object] = {
    "listen": {"port": 0},
    "operator": {"port": 0},
    "models": [{"name": "m"}],
    "pools": [{"name": "w", "model": "m", "device": "h100-sxm", "simulate": 1}],
    "policy": {"name": "round-robin"},
}


def app_of(*workers: object, journal: list[bytes] | None = None, **changes: object) -> App:
    config = Config.model_validate({**BASE, **changes})
    write = None if journal is None else journal.append
    return build(config, Layout(workers or (worker(),), {}, ()), journal=write)  # type: ignore[arg-type]


@pytest.fixture
async def fake() -> AsyncIterator[FakeWorker]:
    async with fake_workers(1) as [one]:
        yield one


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_an_operator_site_others_can_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match=r"operator\.host.*token_file"):
        app_of(operator={"host": host, "port": 0})


def test_with_a_token_it_may_be_anywhere(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    assert app_of(operator={"host": "0.0.0.0", "port": 0, "token_file": str(token)})


async def test_a_taken_port_is_one_clear_line_and_leaves_nothing_running() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = app_of(listen={"port": taken.getsockname()[1]})
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1"):
            await app.start()


async def test_it_serves_over_tls_with_its_own_certificate(fake: FakeWorker, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with running(app_of(of(fake, "w"), listen={"port": 0, "tls": tls})) as app, aiohttp.ClientSession() as http:
        assert app.url.startswith("https://")
        async with http.post(app.url + CHAT, json={"model": "m", "messages": HELLO}, ssl=trust) as answer:
            assert answer.status == 200


def test_a_certificate_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    tls = {"cert": str(tmp_path / "none.pem"), "key": str(tmp_path / "none.pem")}
    with pytest.raises(ConfigError, match=r"listen\.tls: cannot use"):
        app_of(listen={"tls": tls})


async def test_the_key_of_a_pool_goes_to_its_workers_only(fake: FakeWorker, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-1\n")
    pools = [{"name": "w", "model": "m", "device": "h100-sxm", "simulate": 1, "key_file": str(key)}]
    one = of(fake, "w", like=pool("w"))
    async with (
        running(app_of(one, pools=pools)) as app,
        aiohttp.ClientSession() as http,
        http.post(app.url + CHAT, json={"model": "m", "messages": HELLO}) as answer,
    ):
        assert answer.status == 200
    assert fake.calls[0].headers["authorization"] == "Bearer sk-1"


async def test_the_journal_holds_every_event_of_a_request(fake: FakeWorker) -> None:
    lines: list[bytes] = []
    async with running(app_of(of(fake, "w"), journal=lines)) as app, aiohttp.ClientSession() as http:
        body = {"model": "m", "messages": HELLO, "stream": True}
        async with http.post(app.url + CHAT, json=body) as answer:
            await answer.read()
    events = [orjson.loads(line)["event"] for line in lines]
    assert [event for event in events if event != "report"] == ["submit", "first_token", "attempt_ended"]


async def test_a_stopped_app_listens_no_more(fake: FakeWorker) -> None:
    async with (
        running(app_of(of(fake, "w"))) as app,
        aiohttp.ClientSession() as http,
        http.get(app.url + "/v1/models") as answer,
    ):
        assert answer.status == 200
    async with aiohttp.ClientSession() as http:
        for url in (app.url, app.operator_url):
            with pytest.raises(aiohttp.ClientConnectorError):
                await http.get(url)
