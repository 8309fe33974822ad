"""Every engine of the table passes these; a new engine gets them by being listed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.body import Body, parse
from router.engines.api import INTERNAL_FIELDS, Engine, NoHandover
from router.engines.table import ENGINES
from router.errors import UnknownPath

CHAT = "/v1/chat/completions"
engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def body(**fields: Any) -> Body:
    return parse(orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields))


@engines
def test_a_call_with_nothing_to_change_carries_the_clients_own_bytes(engine: Engine) -> None:
    client = parse(b'{ "model":"m","messages":[{"role":"user","content":"\\u00e9"}],\n"seed":1e3, "unknown":{"a":[]} }')
    call = engine.whole_call(CHAT, client, "id-1")
    assert call.body is client.raw
    assert (call.path, call.adds_usage) == (CHAT, False)


@engines
def test_a_call_says_what_it_is_and_whose(engine: Engine) -> None:
    headers = engine.whole_call(CHAT, body(), "id-1").headers
    assert headers == {"content-type": "application/json", "x-request-id": "id-1"}


@engines
@pytest.mark.parametrize(
    "path", ["/v1/models", "/invocations", "/pause", "/v1/chat/completions/", "//v1/completions", ""]
)
def test_a_path_outside_the_list_is_never_called(engine: Engine, path: str) -> None:
    with pytest.raises(UnknownPath):
        engine.whole_call(path, body(), "id-1")


@engines
@pytest.mark.parametrize("field", sorted(INTERNAL_FIELDS))
def test_a_field_between_router_and_engine_is_not_the_clients_to_set(engine: Engine, field: str) -> None:
    client = body(**{field: {"x": 1}, "vllm_xargs": {"y": 2}, "unknown": 3})
    sent = orjson.loads(engine.whole_call(CHAT, client, "id-1").body)
    assert sent == {name: value for name, value in client.fields.items() if name != field}


@engines
def test_a_stream_always_ends_with_its_usage(engine: Engine) -> None:
    call = engine.whole_call(CHAT, body(stream=True), "id-1")
    assert orjson.loads(call.body)["stream_options"] == {"include_usage": True}
    assert call.adds_usage


@engines
def test_a_client_that_asked_for_usage_gets_its_own_bytes_and_its_usage(engine: Engine) -> None:
    client = body(stream=True, stream_options={"include_usage": True, "other": 1})
    call = engine.whole_call(CHAT, client, "id-1")
    assert call.body is client.raw
    assert not call.adds_usage


@engines
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None, "other": 1}, "odd"])
def test_other_stream_options_are_kept_when_usage_is_added(engine: Engine, options: object) -> None:
    call = engine.whole_call(CHAT, body(stream=True, stream_options=options), "id-1")
    kept = options if isinstance(options, dict) else {}
    assert orjson.loads(call.body)["stream_options"] == kept | {"include_usage": True}
    assert call.adds_usage


@engines
def test_workers_that_know_the_model_by_another_name_are_told_that_name(engine: Engine) -> None:
    renamed: Engine = type(engine)(served_model="org/m-fp8")  # type: ignore[call-arg]
    assert orjson.loads(renamed.whole_call(CHAT, body(), "id-1").body)["model"] == "org/m-fp8"


@engines
def test_legs_and_calls_agree(engine: Engine) -> None:
    if engine.legs is not None:
        assert engine.can_split(CHAT, body())
        return
    assert not engine.can_split(CHAT, body())
    for leg in (engine.decode_call, engine.abandon_call):
        with pytest.raises(NoHandover):
            leg(CHAT, body(), {}, "id-1")
    with pytest.raises(NoHandover):
        engine.prefill_call(CHAT, body(), "id-1")


@engines
@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.binary(max_size=200))
def test_no_answer_of_a_worker_breaks_the_reader(engine: Engine, answer: bytes) -> None:
    assert engine.read_prefilled(answer) is None
    assert engine.read_load(answer, 7.5).at_s == 7.5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["stop", "length", "abort"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "finish_reason", "kv_transfer_params"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@engines
@settings(deadline=None, derandomize=True, max_examples=60)
@given(json_values)
def test_what_is_handed_over_is_an_object_or_nothing(engine: Engine, answer: Any) -> None:
    assert isinstance(engine.read_prefilled(orjson.dumps(answer)), dict | None)


names = ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"]
numbers = st.sampled_from(
    ["NaN", "+Inf", "-Inf", "-1", "1e308", "9" * 400, "1_000", "0x10", "", "0.5.5", "٣", "1", "0.5"]
)
lines = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(names),
    st.sampled_from(["", "{", '{a="}"}']),
    st.sampled_from([" ", ""]),
    numbers,
)


@engines
@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(lines, max_size=5))
def test_a_load_is_a_sane_number_or_unknown(engine: Engine, text: list[str]) -> None:
    report = engine.read_load("\n".join(text).encode(), 1.0)
    assert report.running is None or 0 <= report.running <= 5_000_000
    assert report.waiting is None or 0 <= report.waiting <= 5_000_000
    assert report.kv_usage is None or 0 <= report.kv_usage <= 1
