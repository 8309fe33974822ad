"""A simulated worker built from the catalogue, and as a process of its own."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from devices.catalog import UnknownId
from devices.feasibility import Infeasible
from devices.profile import Precision
from devices.simulated.worker_server import WorkerOptions, build_worker
from devices.worker import Link

RUN = """
import sys
from devices.worker import Link
from devices.simulated.worker_server import WorkerOptions, serve_worker
name, pool = sys.argv[1:]
links = {"gpu": Link(50e9, 0.0005)}
told = WorkerOptions(
    device="h100-sxm", model="llama-3.1-8b", port=0, name=name, pool=pool, links=links, speed=20.0
)
serve_worker(told)
"""


def test_a_worker_is_built_from_the_catalogue() -> None:
    server = build_worker(
        WorkerOptions(
            device="h100-sxm",
            model="llama-3.1-70b",
            chips=4,
            precision=Precision.FP8,
            served_model="chat",
            name="gpu-0",
            pool="gpu",
            links={"other": Link(1e9)},
            max_seqs=7,
            max_batched_tokens=512,
        )
    )
    identity = server.identity
    assert (identity.model, identity.device, identity.chips) == ("chat", "h100-sxm", 4)
    assert identity.kv_bytes_per_token == 327_680  # 80 layers x 8 KV heads x 128 x 2 (K and V) x 2 bytes
    assert (server.worker.limits.max_seqs, server.worker.limits.max_batched_tokens) == (7, 512)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(UnknownId, match="unknown device 'h1000'"):
        build_worker(WorkerOptions(device="h1000", model="llama-3.1-8b"))


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(Infeasible, match=r"llama-3\.1-70b"):
        build_worker(WorkerOptions(device="h100-sxm", model="llama-3.1-70b", precision=Precision.FP16))


@asynccontextmanager
async def process(name: str, pool: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    """A worker process, its address and its ready line."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, name, pool, stdout=asyncio.subprocess.PIPE)
    try:
        assert child.stdout is not None
        async with asyncio.timeout(30):
            line = (await child.stdout.readline()).decode()
        yield child, re.findall(r"http://[^ ]+", line)[0], line
    finally:
        if child.returncode is None:
            child.terminate()
        assert await asyncio.wait_for(child.wait(), 30) == 0


@pytest.mark.slow
async def test_a_process_says_that_it_is_ready_and_ends_cleanly_on_sigterm_with_a_stream_open() -> None:
    async with process("gpu-0", "gpu") as (child, url, line), aiohttp.ClientSession() as http:
        assert line == f"worker gpu-0 ready on {url} (h100-sxm, llama-3.1-8b, 1 chip, decode, prefill)\n"
        body = orjson.dumps({"prompt": "abc " * 50, "stream": True, "max_tokens": 50_000, "ignore_eos": True})
        async with http.post(url + "/v1/completions", data=body) as response:
            assert (await response.content.readline()).startswith(b"data: {")
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 30) == 0


@pytest.mark.slow
async def test_kv_is_handed_over_between_processes() -> None:
    async with (
        process("gpu-0", "gpu") as (_, prefill, _),
        process("lpu-0", "lpu") as (_, decode, _),
        aiohttp.ClientSession() as http,
    ):
        body = {"prompt": "abc " * 500, "max_tokens": 1, "kv_transfer_params": {"do_remote_decode": True}}
        held = (await answer(http, prefill, body))["kv_transfer_params"]
        told = await answer(http, decode, {**body, "max_tokens": 20, "kv_transfer_params": held})
        whole = await answer(http, prefill, {**body, "max_tokens": 20, "kv_transfer_params": None})
        assert told["usage"]["prompt_tokens_details"] == {"cached_tokens": 500}  # type: ignore[index]
        assert told["choices"] == whole["choices"]
        state = await (await http.get(prefill + "/debug/state")).json()
        assert (state["kv_tokens"], state["lease_expired"]) == (0, 0)


async def answer(http: aiohttp.ClientSession, url: str, body: dict[str, object]) -> dict[str, object]:
    async with http.post(url + "/v1/completions", data=orjson.dumps(body)) as response:
        found: dict[str, object] = await response.json()
        return found
