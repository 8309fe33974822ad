"""The public side: every request in, one answer out, one line in the books, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

import orjson
from aiohttp import web

from policies.api import Placement, Reject
from router import request_body
from router.answer import Answer, ClientGone, WriteStalled
from router.dispatcher import Attempt, Dispatcher
from router.errors import (
    DeadlineExceeded,
    MethodNotAllowed,
    NoHealthyWorker,
    Overloaded,
    RouterError,
    ShuttingDown,
    UnknownPath,
    UpstreamConnectFailed,
    UpstreamError,
)
from router.exchange import Exchange
from router.ledger import REASONS, Account, Entry, Ledger, Outcome
from router.metrics import Metrics
from router.openai import CHAT, COMPLETIONS, MODELS, Inbound, OpenAi, request_id
from router.record import record
from router.relay import Relay
from router.scheduler import End

ROUTES = {CHAT: "POST", COMPLETIONS: "POST", MODELS: "GET"}

_log = logging.getLogger("tokenyard.gateway")
_request_log = logging.getLogger("tokenyard.request")


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """What one request may take.

    Attributes:
        body_s: longest time to send a body.
        head_hold_s: how long a stream's status stays open; then 200 and comments keep the client waiting.
        attempts: workers one request may be tried on.
        write_stall_s: how long a client may take nothing of what is ready for it.
    """

    body_bytes: int = 8 << 20
    body_s: float = 30.0
    head_hold_s: float = 10.0
    attempts: int = 2
    write_stall_s: float = 30.0


class QueueTimeout(Overloaded):
    """The request waited as long as it may."""

    reason = "deadline"


class Gateway:
    """Serves the public listener.

    Attributes:
        draining: new requests are turned away.
    """

    def __init__(
        self,
        openai: OpenAi,
        ledger: Ledger,
        dispatcher: Dispatcher,
        relay: Relay,
        metrics: Metrics,
        limits: GatewayLimits,
        clock: Callable[[], float],
    ) -> None:
        self.draining = False
        self._openai = openai
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._relay = relay
        self._metrics = metrics
        self._limits = limits
        self._clock = clock
        self._scopes: dict[str, asyncio.Timeout] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def handle(self, http: web.BaseRequest) -> Answer:
        """Answer one request. If the client leaves, this task is cancelled."""
        answer = Answer(http, self._limits.write_stall_s)
        identity = answer.head["x-request-id"] = self._request_id(http)
        path = http.raw_path.partition("?")[0]
        method = ROUTES.get(path)
        if method == http.method == "POST":
            await self._recorded(http, path, answer, Entry(identity, self._clock()))
            return answer
        with contextlib.suppress(ClientGone, WriteStalled):
            if method is None:
                await answer.fail(UnknownPath(f"no such path; this gateway serves {', '.join(ROUTES)}"))
            elif http.method != method:
                answer.head["allow"] = method
                await answer.fail(MethodNotAllowed(f"{path} takes {method}"))
            else:
                await answer.whole(200, self._openai.models())
        return answer

    async def drain(self, deadline_s: float) -> None:
        """Turn new requests away, let those in flight finish, and tell the rest at the deadline."""
        self.draining = True
        try:
            async with asyncio.timeout(deadline_s):
                await self._idle.wait()
        except TimeoutError:
            now = asyncio.get_running_loop().time()
            for scope in self._scopes.values():
                scope.reschedule(now)
            await self._idle.wait()

    # one request in the books

    async def _recorded(self, http: web.BaseRequest, path: str, answer: Answer, entry: Entry) -> None:
        self._metrics.received(entry)
        try:
            with self._ledger.enter(entry) as account:
                await self._accounted(http, path, answer, account)
        finally:
            answer.quiet()
            self._metrics.ended(entry)

    async def _accounted(self, http: web.BaseRequest, path: str, answer: Answer, account: Account) -> None:
        """Serve it; every way this can end is one outcome."""
        entry = account.entry
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._enter(entry.id, scope)
                try:
                    await self._serve(http, path, answer, entry)
                finally:
                    self._leave(entry.id)
            self._end(account, answer, _completed(entry))
        except asyncio.CancelledError:
            self._end(account, answer, _completed(entry) if answer.ended else Outcome.CLIENT_CANCELLED)
            raise
        except ConnectionError:  # noticed by a write before the cancellation came
            self._end(account, answer, Outcome.CLIENT_CANCELLED)
        except WriteStalled as error:
            entry.message = str(error)
            self._end(account, answer, Outcome.FAILED, "write_stall")
        except RouterError as error:
            await self._fail(account, answer, error)
        except Exception as error:  # noqa: BLE001 - the one place where any error becomes an answer
            if scope.expired():
                await self._fail(account, answer, ShuttingDown(), Outcome.DRAINED)
            else:
                _log.error(_internal(entry.id, error))
                await self._fail(account, answer, RouterError())

    async def _fail(self, account: Account, answer: Answer, error: RouterError, outcome: Outcome | None = None) -> None:
        entry = account.entry
        entry.message, entry.status = error.message, int(error.status)
        reason = "" if outcome else error.reason
        refused = error.reason in REASONS[Outcome.REJECTED]
        outcome = outcome or (Outcome.REJECTED if refused else Outcome.FAILED)
        self._end(account, answer, outcome, reason, error.detail)
        with contextlib.suppress(ClientGone, WriteStalled):
            await answer.fail(error)

    def _end(self, account: Account, answer: Answer, outcome: Outcome, reason: str = "", detail: str = "") -> None:
        """Close the account and write its line; `detail` is for the log alone."""
        entry = account.entry
        entry.status = answer.status_sent or entry.status
        entry.usd = _usd(entry)
        account.end(outcome, reason, self._clock())
        if _request_log.isEnabledFor(logging.INFO):
            _request_log.info(orjson.dumps({**record(entry), "detail": detail}).decode())

    def _enter(self, identity: str, scope: asyncio.Timeout) -> None:
        self._scopes[identity] = scope
        self._idle.clear()

    def _leave(self, identity: str) -> None:
        del self._scopes[identity]
        if not self._scopes:
            self._idle.set()

    # the walk

    async def _serve(self, http: web.BaseRequest, path: str, answer: Answer, entry: Entry) -> None:
        """Read, check, place and relay."""
        if self.draining:
            answer.close_after()
            raise ShuttingDown
        try:
            raw = await request_body.read(http, self._limits.body_bytes, self._limits.body_s)
        except RouterError:
            answer.close_after()  # the rest of the body is still to come
            raise
        inbound = self._openai.inbound(path, raw, http.headers, entry.id, entry.arrival_s)
        request = inbound.request
        entry.model, entry.traffic_class, entry.tenant = request.model, request.traffic_class, request.tenant
        entry.prompt_tokens, entry.stream = request.prompt_tokens, inbound.stream
        if inbound.stream:
            answer.comment_every(self._limits.head_hold_s)
        await self._attempts(inbound, answer, entry)

    async def _attempts(self, inbound: Inbound, answer: Answer, entry: Entry) -> None:
        """Try one worker or pair after the other, as long as the client has seen nothing of an answer."""
        request = inbound.request
        failure: UpstreamError | None = None
        while True:
            async with self._dispatcher.place(request) as attempt:
                entry.queue_s = self._clock() - entry.arrival_s
                if isinstance(attempt.outcome, Reject):
                    raise failure or _rejected(attempt.outcome, request.slo.e2e_s)
                exchange = self._exchange(inbound, answer, entry, attempt, attempt.outcome)
                try:
                    return await self._relay.run(exchange)
                except UpstreamError as error:
                    attempt.end = End.FAILED
                    if isinstance(error, UpstreamConnectFailed) and not exchange.worker.pool.metered:
                        self._dispatcher.worker_lost(exchange.worker.name)  # its probe will find it again
                    if exchange.speaking or request.attempt >= self._limits.attempts:
                        raise
                    failure = error
            request = replace(request, attempt=request.attempt + 1, avoid=request.avoid | {exchange.worker.name})

    def _exchange(
        self, inbound: Inbound, answer: Answer, entry: Entry, attempt: Attempt, placement: Placement
    ) -> Exchange:
        entry.attempts = attempt.request.attempt
        entry.placement = placement
        quote = placement.quote
        answer.head["x-tokenyard-prefill"] = placement.prefill.name
        answer.head["x-tokenyard-decode"] = placement.decode.name
        answer.head["x-tokenyard-quote"] = f"ttft_s={quote.ttft_s:.6g};tpot_s={quote.tpot_s:.6g};usd={quote.usd:.6g}"
        return Exchange(inbound, answer, entry, attempt, placement, placement.prefill, self._clock)

    def _request_id(self, http: web.BaseRequest) -> str:
        identity = request_id(http.headers.get("x-request-id"), secrets.token_hex(16))
        return identity if identity not in self._scopes else f"{identity[:47]}-{secrets.token_hex(8)}"


def _rejected(reject: Reject, deadline_s: float | None) -> RouterError:
    match reject.reason:
        case "overloaded":
            return Overloaded(reject.message, retry_after_s=reject.retry_after_s)
        case "no_worker":
            return NoHealthyWorker(reject.message, retry_after_s=reject.retry_after_s)
        case "deadline" if deadline_s is not None:
            return DeadlineExceeded(reject.message)
        case "deadline":
            return QueueTimeout(reject.message, retry_after_s=reject.retry_after_s)
        case _:
            return ShuttingDown(reject.message)


def _completed(entry: Entry) -> Outcome:
    return Outcome.COMPLETED if entry.attempts <= 1 else Outcome.COMPLETED_AFTER_RETRY


def _usd(entry: Entry) -> float:
    """What the answer cost, as far as it came: an API's charge, else rent of device seconds at the quoted rates."""
    if entry.placement is None or not entry.output_tokens:
        return 0.0
    billing = entry.placement.decode.pool.billing
    if billing.price is None:
        return entry.placement.quote.usd_of(entry.output_tokens)
    return billing.price.usd(entry.prompt_tokens, entry.output_tokens, entry.cached_tokens)


def _internal(identity: str, error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error))
    return orjson.dumps({"event": "internal_error", "id": identity, "traceback": lines}).decode()
