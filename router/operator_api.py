"""The operator's side: metrics, health, what the fleet does and why each request went where it went. Read-only."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable
from http import HTTPStatus
from itertools import islice

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from router.answer import Answer, ClientGone, WriteStalled
from router.errors import MethodNotAllowed, RouterError, UnknownPath
from router.gateway import Gateway
from router.ledger import Entry, Ledger
from router.operator_page import page
from router.reaper import Reaper
from router.record import record
from router.scheduler import Scheduler
from router.upstream import Upstream

DECISIONS = "/api/decisions"
SHOWN = 100
"""Newest requests listed; one by id reaches as far back as the ledger keeps them."""
OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""For load balancers, which carry no token."""
WRITE_STALL_S = 10.0

Page = tuple[int, bytes, str]
"""(status, body, content type)."""


class Unauthorized(RouterError):
    """The operator listener has a token and the request has not."""

    status, code, kind = HTTPStatus.UNAUTHORIZED, "invalid_api_key", "authentication_error"
    message = "send the operator token as 'authorization: Bearer …'"


class OperatorApi:
    """Serves the operator listener. With a `token`, everything but the health checks asks for it."""

    def __init__(
        self,
        registry: CollectorRegistry,
        gateway: Gateway,
        ledger: Ledger,
        scheduler: Scheduler,
        reaper: Reaper,
        upstream: Upstream,
        token: str,
    ) -> None:
        self._registry = registry
        self._gateway = gateway
        self._ledger = ledger
        self._scheduler = scheduler
        self._reaper = reaper
        self._upstream = upstream
        self._token = token.encode()
        self._routes: dict[str, Callable[[], Page]] = {
            "/": self._html,
            "/metrics": self._metrics,
            "/livez": lambda: (200, b"ok\n", "text/plain"),
            "/readyz": self._ready,
            "/api/fleet": lambda: _json(self.fleet()),
            DECISIONS: lambda: _json({"decisions": [record(entry) for entry in self._newest()]}),
            "/debug/invariants": self._invariants,
        }

    async def handle(self, http: web.BaseRequest) -> Answer:
        """Answer one request."""
        answer = Answer(http, WRITE_STALL_S)
        with contextlib.suppress(ClientGone, WriteStalled):
            try:
                page = self._answered(http, answer)
            except RouterError as error:
                await answer.fail(error)
            else:
                await answer.whole(*page)
        return answer

    def _answered(self, http: web.BaseRequest, answer: Answer) -> Page:
        path = http.raw_path.partition("?")[0]
        if http.method != "GET":
            answer.head["allow"] = "GET"
            raise MethodNotAllowed("the operator API only takes GET")
        if path not in OPEN_PATHS:
            self._authorize(http)
        return self._page(path)

    def fleet(self) -> dict[str, object]:
        """What every worker does now."""
        fleet = self._scheduler.fleet
        workers = [
            {
                "name": worker.name,
                "pool": worker.pool.name,
                "model": worker.pool.model,
                "url": worker.url,
                "phases": sorted(phase.value for phase in worker.phases),
                "routable": fleet.is_routable(worker),
                "requests": (load := fleet.load(worker)).requests,
                "decodes": load.decodes,
                "queued_prefill_tokens": load.queued_prefill_tokens,
                "kv_tokens": load.kv_tokens,
                "kv_limit_tokens": worker.pool.limits.kv_tokens,
            }
            for worker in fleet.workers
        ]
        return {"waiting": self._scheduler.waiting, "in_flight": self._ledger.in_flight, "workers": workers}

    def _authorize(self, http: web.BaseRequest) -> None:
        offered = http.headers.get("authorization", "").removeprefix("Bearer ").encode(errors="surrogateescape")
        if self._token and not hmac.compare_digest(offered, self._token):
            raise Unauthorized

    def _page(self, path: str) -> Page:
        if route := self._routes.get(path):
            return route()
        identity = path.removeprefix(f"{DECISIONS}/")
        entry = self._ledger.recent.get(identity) or next((e for e in self._ledger.open if e.id == identity), None)
        if entry is None:
            raise UnknownPath("no such path, or no such request among the last ones")
        return _json(record(entry))

    def _newest(self) -> list[Entry]:
        return list(islice(reversed(self._ledger.recent.values()), SHOWN))

    def _metrics(self) -> Page:
        return 200, generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def _ready(self) -> Page:
        fleet = self._scheduler.fleet
        if self._gateway.draining:
            return 503, b"draining\n", "text/plain"
        if not any(map(fleet.is_routable, fleet.workers)):
            return 503, b"no worker answers\n", "text/plain"
        return 200, b"ok\n", "text/plain"

    def _invariants(self) -> Page:
        identities = self._ledger.invariants()
        held = {
            "in_flight": self._ledger.in_flight,
            "waiting": self._scheduler.waiting,
            "reserved": self._scheduler.reserved,
            "fleet_idle": self._scheduler.fleet.idle,
            "reaping": self._reaper.pending,
            "upstream_connections_in_use": self._upstream.connections_in_use,
        }
        return _json({"ok": all(identities.values()), "identities": identities, **held})

    def _html(self) -> Page:
        recent = [record(entry) for entry in islice(self._newest(), 25)]
        return 200, page(self.fleet(), recent).encode(), "text/html; charset=utf-8"


def _json(value: object) -> Page:
    return 200, orjson.dumps(value, option=orjson.OPT_INDENT_2), "application/json"
