"""A worker that does what a test scripts, over a real socket: the only way to see an engine misbehave on cue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import orjson

Json = dict[str, object]
KV = {"do_remote_prefill": True, "do_remote_decode": False, "remote_engine_id": "e", "remote_block_ids": [[1]]}


class Call:
    """One request the worker got, and the pen to answer it with."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.body: Json = orjson.loads(body) if body else {}
        self._reader, self._writer = reader, writer

    @property
    def leg(self) -> str:
        """Which call of a placement this is: "prefill", "decode" or "whole"."""
        kv = self.body.get("kv_transfer_params")
        if not isinstance(kv, dict):
            return "whole"
        return "prefill" if kv.get("do_remote_decode") else "decode"

    async def head(self, status: int = 200, kind: str = "text/event-stream", extra: str = "") -> None:
        await self.raw(
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n{extra}\r\n".encode()
        )

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, value: Json | str) -> None:
        text = value.encode() if isinstance(value, str) else orjson.dumps(value)
        await self.chunk(b"data: " + text + b"\n\n")

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def json(self, value: object, status: int = 200, extra: str = "") -> None:
        body = orjson.dumps(value)
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        await self.raw(head.encode() + body)

    async def stream(self, tokens: int = 3) -> None:
        """A whole good stream."""
        await self.head()
        for number in range(tokens):
            await self.event(delta(f"t{number} "))
        await self.event(delta(None, "stop"))
        if isinstance(options := self.body.get("stream_options"), dict) and options.get("include_usage"):
            await self.event({"choices": [], "usage": usage(tokens)})
        await self.event("[DONE]")
        await self.end()

    async def gone(self) -> None:
        """Returns when the gateway has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1024):
                pass

    def reset(self) -> None:
        self._writer.transport.abort()


def delta(content: str | None, finish: str | None = None) -> Json:
    choice = {"index": 0, "delta": {"content": content} if content is not None else {}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def usage(tokens: int) -> Json:
    return {"prompt_tokens": 2, "completion_tokens": tokens, "total_tokens": 2 + tokens}


def whole_answer(content: str = "hello", finish: str | None = "stop", **extra: object) -> Json:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "text": content,
        "logprobs": None,
        "finish_reason": finish,
    }
    fixed = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage(4)}
    return {**fixed, "choices": [choice], **extra}


async def good(call: Call) -> None:
    """What a healthy vLLM worker does with each leg."""
    if call.leg == "prefill":
        await call.json(whole_answer("", "length", kv_transfer_params=KV))
    elif call.body.get("stream"):
        await call.stream()
    else:
        await call.json(whole_answer())


class FakeWorker:
    """Set `script` to say how the next calls are answered, `health` for the status of its health check."""

    def __init__(self) -> None:
        self.url = ""
        self.script: Callable[[Call], Awaitable[None]] = good
        self.health = 200
        self.health_checks = 0
        self.metrics = ""
        self.health_gate, self.metrics_gate = asyncio.Event(), asyncio.Event()  # cleared: no answer
        self.health_gate.set()
        self.metrics_gate.set()
        self.calls: list[Call] = []
        self.arrived = asyncio.Event()
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._dead = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def legs(self) -> list[str]:
        return [call.leg for call in self.calls]

    async def listen(self, port: int = 0) -> None:
        self._dead = False
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def die(self) -> None:
        """Refuse from now on, and cut what is open."""
        assert self._server is not None
        self._server.close()
        self._dead = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._dead:  # accepted by the kernel before the listener was closed
            writer.transport.abort()
            return
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._one(reader, writer)
        finally:
            self.connections -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
        )
        call = Call(reader, writer, head, await reader.readexactly(length))
        if call.path == "/health":
            self.health_checks += 1
            await self.health_gate.wait()
            await call.json({}, self.health)
        elif call.path == "/metrics":
            await self.metrics_gate.wait()
            text = self.metrics.encode("latin-1")
            await call.raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))
        else:
            self.calls.append(call)
            self.arrived.set()
            await self.script(call)


@contextlib.asynccontextmanager
async def fake_workers(count: int) -> AsyncIterator[list[FakeWorker]]:
    workers = [FakeWorker() for _ in range(count)]
    for worker in workers:
        await worker.listen()
    try:
        yield workers
    finally:
        for worker in workers:
            await worker.die()


def by_leg(scripts: Mapping[str, Callable[[Call], Awaitable[None]]]) -> Callable[[Call], Awaitable[None]]:
    """A script that treats the legs named differently and the others well."""

    async def script(call: Call) -> None:
        await scripts.get(call.leg, good)(call)

    return script
