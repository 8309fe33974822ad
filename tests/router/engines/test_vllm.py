from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from router.body import parse
from router.engines.api import Legs
from router.engines.table import ENGINES
from router.engines.vllm import Vllm
from router.load import WorkerReport

TRANSCRIPTS = Path(__file__).parent / "transcripts"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"

transcripts = pytest.mark.parametrize("name", sorted(path.name for path in TRANSCRIPTS.glob("*.json")))


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TRANSCRIPTS / name).read_text())
    return found


@transcripts
def test_the_prefill_leg_is_as_recorded(name: str) -> None:
    said = read(name)
    call = ENGINES[said["engine"]].prefill_call(said["path"], parse(orjson.dumps(said["client"])), "id-1")
    assert orjson.loads(call.body) == said["prefill"]
    assert (call.path, call.headers["x-request-id"], call.adds_usage) == (said["path"], "id-1", False)


@transcripts
def test_the_decode_leg_carries_what_prefill_answered_and_what_the_client_asked(name: str) -> None:
    said = read(name)
    engine, client = ENGINES[said["engine"]], parse(orjson.dumps(said["client"]))
    prefilled = engine.read_prefilled(orjson.dumps(said["prefill_answer"]))
    assert prefilled == said["prefill_answer"]["kv_transfer_params"]
    call = engine.decode_call(said["path"], client, prefilled, "id-1")
    assert orjson.loads(call.body) == said["decode"] | {"kv_transfer_params": prefilled}
    assert (call.path, call.headers["x-request-id"]) == (said["path"], "id-1")
    assert call.adds_usage == said["decode_adds_usage"]


@transcripts
def test_an_abandoned_hand_over_asks_for_one_token_and_no_stream(name: str) -> None:
    said = read(name)
    engine, client = ENGINES[said["engine"]], parse(orjson.dumps(said["client"]))
    prefilled = said["prefill_answer"]["kv_transfer_params"]
    call = engine.abandon_call(said["path"], client, prefilled, "id-1")
    assert orjson.loads(call.body) == said["abandon"] | {"kv_transfer_params": prefilled}
    assert not call.adds_usage


def test_prefill_comes_before_decode() -> None:
    assert Vllm().legs is Legs.IN_ORDER


@pytest.mark.parametrize("reason", ["abort", "error", None, "tool_calls"])
def test_a_prefill_that_ended_otherwise_hands_nothing_over(reason: str | None) -> None:
    answer = read("vllm_chat_streamed.json")["prefill_answer"]
    answer["choices"][0]["finish_reason"] = reason
    assert Vllm().read_prefilled(orjson.dumps(answer)) is None


@pytest.mark.parametrize("params", [None, {}, [], "x"])
def test_an_answer_without_parameters_hands_nothing_over(params: object) -> None:
    answer = read("vllm_chat_streamed.json")["prefill_answer"] | {"kv_transfer_params": params}
    assert Vllm().read_prefilled(orjson.dumps(answer)) is None


@pytest.mark.parametrize(
    ("path", "fields", "splits"),
    [
        (CHAT, {}, True),
        (CHAT, {"n": 1}, True),
        (CHAT, {"n": 2}, False),
        (TEXT, {"prompt": "a"}, True),
        (TEXT, {"prompt": ["a"]}, False),
        (TEXT, {"prompt": ["a", "b"]}, False),
        (TEXT, {"prompt": [1, 2, 3]}, True),
        (TEXT, {"prompt": [[1, 2], [3]]}, False),
        (TEXT, {"prompt": "a", "best_of": 3}, False),
        (TEXT, {"prompt": "a", "echo": True}, False),
        (TEXT, {"prompt": "a", "prompt_logprobs": 0}, False),
        (TEXT, {"prompt": "a", "use_beam_search": True}, False),
    ],
)
def test_only_one_sequence_is_ever_split(path: str, fields: dict[str, object], splits: bool) -> None:
    assert Vllm().can_split(path, parse(orjson.dumps({"model": "m"} | fields))) is splits


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("vllm_metrics.txt", WorkerReport(17, 3, 0.4375, 2.0)),
        ("vllm_metrics_old.txt", WorkerReport(2, 0, 0.0125, 2.0)),
        ("vllm_metrics_two_ranks.txt", WorkerReport(11, 2, 0.5, 2.0)),
    ],
)
def test_load_is_read_under_new_and_old_names_and_over_all_ranks(name: str, report: WorkerReport) -> None:
    assert Vllm().read_load((TRANSCRIPTS / name).read_bytes(), 2.0) == report


@pytest.mark.parametrize(
    "value", ["NaN", "+Inf", "-Inf", "-1.0", "1e300", "x", "", "1 2 3", "1_0", "0x1", "1e", "9" * 500]
)
def test_an_absurd_value_is_no_value(value: str) -> None:
    page = (
        f'vllm:num_requests_running{{a="b"}} {value}\nvllm:kv_cache_usage_perc {value}\nvllm:num_requests_waiting 4\n'
    )
    assert Vllm().read_load(page.encode(), 2.0) == WorkerReport(None, 4, None, 2.0)


def test_one_absurd_rank_spoils_the_sum() -> None:
    page = b'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} NaN\n'
    assert Vllm().read_load(page, 2.0).running is None


def test_a_page_that_is_no_metrics_page_says_nothing() -> None:
    assert Vllm().read_load(b"<html>vllm:num_requests_running 3</html>", 2.0) == WorkerReport(None, None, None, 2.0)
