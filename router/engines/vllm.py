"""vLLM, with KV cache handed over by its NIXL connector in pull mode: prefill first, then decode fetches the blocks.

The two legs are as in vLLM 0.33 (`vllm/distributed/kv_transfer/kv_connector/v1/nixl`); what passes between them is
opaque here and goes on whole, unknown fields too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from router.body import Body
from router.engines import prometheus_text
from router.engines.api import INTERNAL_FIELDS, Call, Legs
from router.engines.openai import OpenAi
from router.load import WorkerReport

_ASK_FOR_KV = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
_NOT_FOR_ONE_TOKEN = INTERNAL_FIELDS | {"stream_options", "min_tokens", "min_completion_tokens"}
_WHOLE_PREFILLS = frozenset({"length", "stop"})
"""Ends of a prefill leg after which its KV is kept; any other (abort) has freed it already."""

_RUNNING = ("vllm:num_requests_running",)
_WAITING = ("vllm:num_requests_waiting",)
_KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""Newest name first; the second was dropped by 0.1x. A share from 0 to 1 in spite of its name."""


@dataclass(frozen=True, slots=True)
class Vllm(OpenAi):
    """A vLLM worker, in either or both phases."""

    @property
    def legs(self) -> Legs | None:
        return Legs.IN_ORDER

    @property
    def health_path(self) -> str:
        return "/health"

    @property
    def metrics_path(self) -> str | None:
        return "/metrics"

    def can_split(self, path: str, body: Body) -> bool:
        """One sequence only: several share one answer, which carries the parameters of one. And nothing that only the
        prefill worker could say of the prompt's own tokens, for its answer is thrown away."""
        fields = body.fields
        return (
            fields.get("n") in (None, 1)
            and fields.get("best_of") in (None, 1)
            and not fields.get("use_beam_search")
            and not fields.get("echo")
            and fields.get("prompt_logprobs") is None
            and not _is_batch(fields.get("prompt"))
        )

    def prefill_call(self, path: str, body: Body, request_id: str) -> Call:
        return self._one_token(path, body, _ASK_FOR_KV, request_id)

    def decode_call(self, path: str, body: Body, prefilled: Mapping[str, object], request_id: str) -> Call:
        return self._call(path, body, {"kv_transfer_params": prefilled}, request_id)

    def abandon_call(self, path: str, body: Body, prefilled: Mapping[str, object], request_id: str) -> Call:
        return self._one_token(path, body, prefilled, request_id)

    def read_prefilled(self, answer: bytes) -> Mapping[str, object] | None:
        try:
            said = orjson.loads(answer)
        except orjson.JSONDecodeError:
            return None
        params = said.get("kv_transfer_params") if isinstance(said, dict) else None
        if not isinstance(params, dict) or not params:
            return None
        choices = said.get("choices")
        whole = isinstance(choices, list) and bool(choices) and all(map(_is_prefilled, choices))
        return params if whole else None

    def read_load(self, metrics: bytes, at_s: float) -> WorkerReport:
        """Sums over data-parallel ranks; KV usage is their mean, for the ranks are equal in size."""
        found = prometheus_text.samples(metrics, {*_RUNNING, *_WAITING, *_KV_USAGE})
        return WorkerReport(_count(found, _RUNNING), _count(found, _WAITING), _share(found, _KV_USAGE), at_s)

    def _one_token(self, path: str, body: Body, params: Mapping[str, object], request_id: str) -> Call:
        changes: dict[str, object] = {"stream": False, "max_tokens": 1, "kv_transfer_params": params}
        if "max_completion_tokens" in body.fields:
            changes["max_completion_tokens"] = 1
        return self._built(path, body, changes, _NOT_FOR_ONE_TOKEN, request_id)


def _is_batch(prompt: object) -> bool:
    """A list of texts, or of lists of token ids; a flat list of token ids is one prompt."""
    return isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)


def _is_prefilled(choice: object) -> bool:
    return isinstance(choice, dict) and choice.get("finish_reason") in _WHOLE_PREFILLS


_ABSURD = 1e6
"""More requests than any engine queues: a counter gone wrong, not a load."""


def _count(found: Mapping[str, list[float]], names: tuple[str, ...]) -> int | None:
    values = _first(found, names)
    if not values or not all(0 <= value <= _ABSURD for value in values):  # NaN fails too
        return None
    return round(sum(values))


def _share(found: Mapping[str, list[float]], names: tuple[str, ...]) -> float | None:
    values = _first(found, names)
    if not values or not all(0 <= value <= 1 for value in values):
        return None
    return sum(values) / len(values)


def _first(found: Mapping[str, list[float]], names: tuple[str, ...]) -> list[float]:
    return next((found[name] for name in names if name in found), [])
