"""A simulated worker as an HTTP server that speaks vLLM's dialect, NIXL hand-over of KV cache included."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from uuid import uuid4

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from devices.simulated.engine import Sequence, SimulatedWorker, State
from devices.simulated.kv_fetch import KvFetch
from devices.simulated.nixl import SideChannel
from devices.simulated.pacer import MAX_BEHIND_TOKENS, Clock, Pacer, Stream, WallClock
from devices.simulated.token_text import token
from devices.simulated.vllm_answer import Answer
from devices.simulated.vllm_api import ApiError, Ask, parse
from devices.simulated.vllm_metrics import VllmMetrics
from devices.worker import Limits, Link, Phase, Predictor

MAX_BODY_BYTES = 64 * 2**20
SHUTDOWN_S = 0.2
"""Wall seconds that open requests get when the server stops; then their connections are closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """Who a worker is, and how it is reached.

    Attributes:
        model: the name clients ask for.
        chips: of one worker; its tensor-parallel size on the wire.
        engine: "vllm", or "openai": the same without KV hand-over.
        links: inbound, by the sender's pool.
        speed: model seconds per wall second; leases, transfers and metrics count model seconds.
    """

    name: str
    pool: str
    model: str
    device: str = "simulated"
    chips: int = 1
    phases: frozenset[Phase] = frozenset(Phase)
    engine: str = "vllm"
    host: str = "127.0.0.1"
    port: int = 0
    links: Mapping[str, Link] = field(default_factory=dict)
    kv_bytes_per_token: float = 0.0
    speed: float = 1.0
    lease_s: float = 30.0


class WorkerServer:
    """Use as `async with WorkerServer(...) as server`; then `server.url` is open."""

    def __init__(
        self, identity: WorkerIdentity, predictor: Predictor, limits: Limits, clock: Clock | None = None
    ) -> None:
        self.identity = identity
        self.url = ""
        self.worker = SimulatedWorker(predictor, limits, lease_s=identity.lease_s, skip=False, list_decoded=True)
        self._hands_over = identity.engine == "vllm"
        self._engine_id = f"{identity.pool}:{identity.name}"
        self._max_model_len = min(limits.max_context_tokens, limits.kv_tokens // limits.block_size * limits.block_size)
        self._metrics = VllmMetrics(self.worker, identity.model)
        self._registry = CollectorRegistry()
        self._registry.register(self._metrics)
        self._pacer = Pacer(self.worker, clock or WallClock(identity.speed), self._metrics)
        self._blocks_given = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> WorkerServer:
        async with AsyncExitStack() as stack:
            stack.callback(self._pacer.close)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            reaper = asyncio.TaskGroup()
            await reaper.__aenter__()
            stack.push_async_callback(reaper.__aexit__, None, None, None)  # a failed start is not one of its tasks
            self._fetcher = KvFetch(
                self._pacer,
                SideChannel(session),
                reaper,
                self._metrics,
                self.identity.links,
                self.identity.kv_bytes_per_token,
            )
            # aiohttp lets a handler run on after its client has left unless it is told to cancel it.
            runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, self.identity.host, self.identity.port, backlog=1024).start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def ready_line(self) -> str:
        """Printed once by a worker process, when it can be called."""
        who, phases = self.identity, ", ".join(sorted(phase.value for phase in self.identity.phases))
        chips = f"{who.chips} chip{'s' if who.chips > 1 else ''}"
        return f"worker {who.name} ready on {self.url} ({who.device}, {who.model}, {chips}, {phases})"

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ping", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._scrape)
        app.router.add_get("/debug/state", self._state)
        if self._hands_over:
            app.router.add_post("/nixl/read", self._renewed)
            app.router.add_post("/nixl/renew", self._renewed)
            app.router.add_post("/nixl/done", self._released)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=True)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._complete(request, chat=False)

    async def _complete(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        try:
            ask = parse(await request.read(), chat=chat, model=self.identity.model, max_model_len=self._max_model_len)
        except ApiError as error:
            return web.Response(status=error.status, body=error.body(), content_type="application/json")
        name = f"{'chatcmpl' if chat else 'cmpl'}-{request.headers.get('X-Request-Id') or uuid4().hex}"
        answer = Answer(ask, name, self.identity.model, int(time.time()))
        if ask.stream:
            return await self._streamed(request, ask, name, answer)
        async with self._stream(request, ask, name, answer) as stream:
            await stream.reach(ask.output_tokens)
            body = answer.whole(self._held(request, stream))
        return web.Response(body=body, content_type="application/json")

    @asynccontextmanager
    async def _stream(self, request: web.Request, ask: Ask, name: str, answer: Answer) -> AsyncIterator[Stream]:
        """Run the sequence for as long as its client stays."""
        stream = await self._started(request, ask, name, answer)
        try:
            yield stream
        except BaseException:
            # The client has left. What is pinned for it was never announced to anyone, so nobody will fetch it.
            self._pacer.abort(stream)
            self._pacer.release(stream.sequence.id)
            raise

    async def _started(self, request: web.Request, ask: Ask, name: str, answer: Answer) -> Stream:
        def start(transfer_s: float | None = None) -> Stream:
            sequence = Sequence(
                f"{name}-{uuid4().hex[:8]}",  # two requests may carry the same X-Request-Id
                ask.prompt_tokens,
                ask.output_tokens,
                pin=ask.pin and self._hands_over,
                transfer_s=transfer_s,
            )
            stream = Stream(sequence, ask.finish_reason, cut=lambda: _cut(request))
            self._pacer.start(stream)
            return stream

        if ask.remote is not None and self._hands_over:
            fetched = await self._fetcher.fetch(ask.remote, ask.prompt_tokens, start)
            if fetched is not None:
                answer.cached_tokens = ask.prompt_tokens
                return fetched
        return start()

    async def _streamed(self, request: web.Request, ask: Ask, name: str, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        )
        with suppress(aiohttp.ClientConnectionResetError):  # the client left, and the task is about to be cancelled
            await response.prepare(request)  # at once, as in vLLM: the head says nothing about the queue
            await self._write(response, request, ask, name, answer)
        return response

    async def _write(
        self, response: web.StreamResponse, request: web.Request, ask: Ask, name: str, answer: Answer
    ) -> None:
        before, after = answer.frame()
        sent, last = 0, ask.output_tokens - 1
        events = [answer.role()]
        async with self._stream(request, ask, name, answer) as stream:
            while sent <= last:
                ready = await stream.reach(sent + 1)
                for index in range(sent, min(ready, last)):
                    events += (before, token(ask.seed, index), after)
                if ready > last:
                    events.append(answer.last(self._held(request, stream)))
                stream.stall_at = ready + MAX_BEHIND_TOKENS
                await response.write(b"".join(events))
                stream.stall_at = math.inf
                sent, events = ready, []
        await response.write_eof()

    def _held(self, request: web.Request, stream: Stream) -> dict[str, object] | None:
        """`kv_transfer_params` of a finished prefill leg: where a decode worker finds its KV."""
        sequence = stream.sequence
        if not sequence.pin or sequence.state is not State.FINISHED or request.transport is None:
            return None
        host, port = request.transport.get_extra_info("sockname")[:2]
        limits = self.worker.limits
        blocks, total = -(-sequence.prompt_tokens // limits.block_size), limits.kv_tokens // limits.block_size
        first, self._blocks_given = self._blocks_given, (self._blocks_given + blocks) % total
        return {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [[(first + number) % total for number in range(blocks)]],
            "remote_engine_id": self._engine_id,
            "remote_request_id": sequence.id,
            "remote_host": host,
            "remote_port": port,
            "tp_size": self.identity.chips,
            "dcp_size": 1,
            "pp_size": 1,
            "remote_num_tokens": sequence.prompt_tokens,
            "remote_blocks_expiry_time": None,
            "transfer_mode": "pull",
        }

    async def _renewed(self, request: web.Request) -> web.Response:
        sequence = self._pacer.renew(await self._named(request))
        if sequence is None:
            return _gone()
        return _json({"tokens": sequence.prompt_tokens, "lease_s": self.worker.lease_s})

    async def _released(self, request: web.Request) -> web.Response:
        return _json({"released": True}) if self._pacer.release(await self._named(request)) else _gone()

    async def _named(self, request: web.Request) -> str:
        """Id of the sequence a decode worker asks about; "" names none, for instance one of another engine."""
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return ""
        mine = isinstance(body, dict) and body.get("engine_id") == self._engine_id
        return str(body.get("request_id")) if mine else ""

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self.identity.model, "object": "model", "created": 0, "owned_by": "tokenyard"}
        entry = {**model, "root": self.identity.model, "max_model_len": self._max_model_len}
        return _json({"object": "list", "data": [entry]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": "0.33.0+tokenyard.simulated"})

    async def _scrape(self, _: web.Request) -> web.Response:
        self._pacer.pump()
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _state(self, _: web.Request) -> web.Response:
        """Everything that must return to zero, and the counters that must add up."""
        self._pacer.pump()
        worker = self.worker
        return _json(
            {
                "name": self.identity.name,
                "pool": self.identity.pool,
                "running": worker.running,
                "waiting": worker.waiting,
                "transferring": worker.transferring,
                "kv_tokens": worker.kv_tokens,
                "pinned_tokens": worker.pinned_tokens,
                "submitted": worker.submitted,
                "finished": worker.finished,
                "aborted": worker.aborted,
                "lease_expired": worker.lease_expired,
                "failed_transfers": self._metrics.failed_transfers,
                "model_s": self._pacer.clock.now_s,
            }
        )


def _json(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


def _gone() -> web.Response:
    return _json({"error": "no such KV here: released, expired, or of another engine"}, status=404)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
