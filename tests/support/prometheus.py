"""A real Prometheus with the shipped rules, scraping one gateway quickly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
START_S = 30.0


class Prometheus:
    """Its HTTP API, and when it has new samples of the series that are watched."""

    def __init__(self, address: str, http: aiohttp.ClientSession, written: asyncio.Event) -> None:
        self._address, self._http, self._written = address, http, written

    async def api(self, path: str, **parameters: str) -> Any:
        """The `data` of one answer of its API."""
        async with self._http.get(f"http://{self._address}/api/v1/{path}", params=parameters) as answer:
            answer.raise_for_status()
            return (await answer.json())["data"]

    async def first(self, expression: str, within_s: float) -> list[tuple[dict[str, str], float]]:
        """Ask each time a watched series has got a sample, until the answer is not empty."""
        async with asyncio.timeout(within_s):
            while True:
                self._written.clear()
                found = (await self.api("query", query=expression))["result"]
                if found:
                    return [(sample["metric"], float(sample["value"][1])) for sample in found]
                await self._written.wait()


@asynccontextmanager
async def prometheus(folder: Path, gateway: str, watched: str) -> AsyncIterator[Prometheus]:
    """Scrape `gateway` ("host:port") five times a second and evaluate the shipped rules as often.

    Prometheus pushes series whose names match `watched` to us by remote write; what it pushes is ignored, that it does
    is the event to wait for.
    """
    written = asyncio.Event()
    async with _receiver(written) as receiver, aiohttp.ClientSession() as http:
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(_config(gateway, receiver, watched)))
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        log = process.stderr
        drain: asyncio.Task[bytes] | None = None
        try:
            address = await _ready(log)
            drain = asyncio.create_task(log.read())  # a full pipe would stop it
            yield Prometheus(address, http, written)
        finally:
            process.terminate()
            await (drain or log.read())
            await process.wait()


def _config(gateway: str, receiver: str, watched: str) -> dict[str, object]:
    keep = {"source_labels": ["__name__"], "regex": watched, "action": "keep"}
    return {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(RULES / "*.yml")],
        "scrape_configs": [{"job_name": "tokenyard", "static_configs": [{"targets": [gateway]}]}],
        "remote_write": [
            {
                "url": f"http://{receiver}/",
                "write_relabel_configs": [keep],
                "queue_config": {"batch_send_deadline": "100ms"},
            }
        ],
    }


@asynccontextmanager
async def _receiver(written: asyncio.Event) -> AsyncIterator[str]:
    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        written.set()
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


async def _ready(log: asyncio.StreamReader) -> str:
    """Read its log until it serves; returns the address it chose."""
    address = ""
    lines = []
    async with asyncio.timeout(START_S):
        while line := (await log.readline()).decode():
            lines.append(line)
            if listening := re.search(r'msg="Listening on" address=(\S+)', line):
                address = listening[1]
            if "Server is ready" in line:
                return address
    raise AssertionError("Prometheus did not start:\n" + "".join(lines))
