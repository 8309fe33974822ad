"""Any server that speaks the OpenAI API and nothing more: both phases on one worker, no word about its load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from router.body import Body
from router.engines.api import COMPLETION_PATHS, INTERNAL_FIELDS, Call, Legs, NoHandover
from router.errors import UnknownPath
from router.load import WorkerReport


@dataclass(frozen=True, slots=True)
class OpenAi:
    """`served_model` is the name the workers know the model by, where it is not the one clients ask for."""

    served_model: str | None = None

    @property
    def legs(self) -> Legs | None:
        return None

    @property
    def health_path(self) -> str:
        return "/v1/models"

    @property
    def metrics_path(self) -> str | None:
        return None

    def can_split(self, path: str, body: Body) -> bool:
        return False

    def whole_call(self, path: str, body: Body, request_id: str) -> Call:
        return self._call(path, body, {}, request_id)

    def prefill_call(self, path: str, body: Body, request_id: str) -> Call:
        raise NoHandover("a plain OpenAI server has no prefill leg")

    def decode_call(self, path: str, body: Body, prefilled: Mapping[str, object], request_id: str) -> Call:
        raise NoHandover("a plain OpenAI server has no decode leg")

    def abandon_call(self, path: str, body: Body, prefilled: Mapping[str, object], request_id: str) -> Call:
        raise NoHandover("a plain OpenAI server has nothing to let go of")

    def read_prefilled(self, answer: bytes) -> Mapping[str, object] | None:
        return None

    def read_load(self, metrics: bytes, at_s: float) -> WorkerReport:
        return WorkerReport(None, None, None, at_s)

    def _call(self, path: str, body: Body, changes: dict[str, object], request_id: str) -> Call:
        """What the client asked for, `changes` aside, with usage at the end of a stream in any case."""
        adds_usage = body.fields.get("stream") is True and not _asks_usage(body)
        if adds_usage:
            asked = body.fields.get("stream_options")
            changes["stream_options"] = (asked if isinstance(asked, dict) else {}) | {"include_usage": True}
        return self._built(path, body, changes, INTERNAL_FIELDS, request_id, adds_usage)

    def _built(
        self,
        path: str,
        body: Body,
        changes: dict[str, object],
        drop: frozenset[str],
        request_id: str,
        adds_usage: bool = False,
    ) -> Call:
        if path not in COMPLETION_PATHS:
            raise UnknownPath(f"{path} is not passed to workers")
        if self.served_model is not None:
            changes["model"] = self.served_model
        raw = body.with_fields(changes, drop)
        return Call(path, raw, {"content-type": "application/json", "x-request-id": request_id}, adds_usage)


def _asks_usage(body: Body) -> bool:
    options = body.fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
