"""The side channel against prefill workers that answer nonsense, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from devices.simulated.nixl import SideChannel
from devices.simulated.vllm_api import Remote


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[SideChannel, Remote]]:
    """A side channel to a server that sends these bytes whatever it is asked; None: nothing, ever."""

    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.read(65536):
            if answer is not None:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    remote = Remote("p:w", "r-1", "127.0.0.1", server.sockets[0].getsockname()[1])
    async with server, aiohttp.ClientSession() as session:
        yield SideChannel(session, answer_s=0.05 if answer is None else 5.0), remote
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_tokens_are_read_from_a_good_answer() -> None:
    async with answering(b'{"tokens": 7}') as (channel, remote):
        assert await channel.read(remote) == 7
        assert await channel.renew(remote)


@pytest.mark.parametrize("answer", [b"", b"[]", b"no json", b"{}", b'{"tokens": "7"}', None])
async def test_anything_else_means_that_the_kv_is_gone(answer: bytes | None) -> None:
    async with answering(answer) as (channel, remote):
        assert await channel.read(remote) is None


async def test_a_worker_that_never_answers_is_given_up() -> None:
    async with answering(None) as (channel, remote):
        assert not await channel.done(remote)
