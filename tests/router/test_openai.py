from __future__ import annotations

from collections.abc import Mapping

import orjson
import pytest

from policies.api import Slo
from router.errors import BadRequest, DeadlineExceeded, RouterError, UnknownModel
from router.openai import CHAT, COMPLETIONS, Inbound, OpenAi, TrafficClass, request_id

API = OpenAi(
    {"m": "m", "default": "m"},
    [TrafficClass("chat", Slo(1.0, 0.05), 0.002, 8), TrafficClass("batch", Slo(e2e_s=600))],
    {"m": 4096},
)


def chat(*, headers: Mapping[str, str] | None = None, **fields: object) -> Inbound:
    body = {"model": "m", "messages": [{"role": "user", "content": "12345"}], **fields}
    return API.inbound(CHAT, orjson.dumps(body), headers or {}, "id", 0.0)


def completion(prompt: object, **fields: object) -> Inbound:
    return API.inbound(COMPLETIONS, orjson.dumps({"model": "m", "prompt": prompt, **fields}), {}, "id", 0.0)


def test_four_bytes_of_prompt_are_one_token_rounded_up() -> None:
    assert chat().request.prompt_tokens == 2
    assert completion("1234").request.prompt_tokens == 1
    assert completion("ééé").request.prompt_tokens == 2


def test_a_chat_counts_the_text_of_all_its_messages_together() -> None:
    parts = [{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": {"url": "https://example.com/i.png"}}]
    messages = [{"role": "system", "content": "abc"}, {"role": "user", "content": parts}]
    assert chat(messages=messages).request.prompt_tokens == 2


def test_token_ids_are_counted_as_they_are() -> None:
    assert completion([1, 2, 3]).request.prompt_tokens == 3


def test_an_alias_becomes_the_models_own_name_in_request_and_body() -> None:
    inbound = chat(model="default")
    assert inbound.request.model == "m"
    assert inbound.body.fields["model"] == "m"
    assert orjson.loads(inbound.body.raw)["model"] == "m"


def test_bytes_that_need_no_change_stay_as_they_came() -> None:
    raw = b'{ "model":"m",  "prompt":"x", "temperature": 1.0 }'
    assert API.inbound(COMPLETIONS, raw, {}, "id", 0.0).body.raw is raw


def test_headers_refine_the_promise_of_the_class() -> None:
    headers = {"x-tokenyard-class": "chat", "x-tokenyard-ttft-ms": "250", "x-tokenyard-deadline-ms": "9000.5"}
    request = chat(headers=headers).request
    assert request.slo == Slo(0.25, 0.05, 9.0005)
    assert (request.usd_per_miss, request.min_bits) == (0.002, 8)


def test_a_request_of_no_class_was_promised_nothing() -> None:
    request = chat().request
    assert (request.traffic_class, request.slo) == ("default", Slo())


def test_an_unknown_class_is_refused_with_the_list_of_classes() -> None:
    with pytest.raises(BadRequest, match="classes: chat, batch"):
        chat(headers={"x-tokenyard-class": "gold"})


@pytest.mark.parametrize("value", ["-1", "abc", "1000000000000", "nan", "inf", "1e3", "", "0x10"])
@pytest.mark.parametrize("name", ["ttft", "tpot", "deadline"])
def test_a_promise_that_is_not_a_time_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(headers={f"x-tokenyard-{name}-ms": value})
    assert caught.value.param == f"x-tokenyard-{name}-ms"


def test_a_deadline_of_zero_is_already_over() -> None:
    with pytest.raises(DeadlineExceeded):
        chat(headers={"x-tokenyard-deadline-ms": "0"})


def test_a_session_is_bounded_and_printable() -> None:
    assert chat(headers={"x-tokenyard-session": "s-1"}).request.session == "s-1"
    for bad in ("x" * 257, "a\x07b", "é"):
        with pytest.raises(BadRequest):
            chat(headers={"x-tokenyard-session": bad})


def test_an_unknown_model_is_a_404_that_names_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match=r"'gpt-9'.*m, default"):
        chat(model="gpt-9")


@pytest.mark.parametrize("model", [None, "", 7, "x" * 300, "a\nb", ["m"]])
def test_a_model_that_is_no_name_is_refused(model: object) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(model=model)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "fields",
    [{"n": 2}, {"logprobs": True}, {"best_of": 2}],
)
def test_more_than_one_answer_or_logprobs_are_never_split(fields: dict[str, object]) -> None:
    assert chat().request.splittable
    assert not chat(**fields).request.splittable


def test_every_prompt_and_choice_is_owed_an_answer() -> None:
    assert completion(["a", "b"], n=3).choices == 6
    assert not completion(["a", "b"]).request.splittable


def test_what_cannot_fit_the_longest_context_is_refused_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        completion("x" * 400, max_tokens=4000)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    assert completion("x" * 400, max_tokens=3996).request.max_tokens == 3996


def test_the_newer_name_of_max_tokens_wins() -> None:
    assert chat(max_tokens=5, max_completion_tokens=7).request.max_tokens == 7


def user(content: object) -> list[object]:
    return [{"role": "user", "content": content}]


def image(url: str) -> list[object]:
    return user([{"type": "image_url", "image_url": {"url": url}}])


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("messages", {"messages": None}),
        ("messages", {"messages": []}),
        ("messages", {"messages": "hi"}),
        ("messages", {"messages": [{"role": "user", "content": "x"}] * 2049}),
        ("messages[0]", {"messages": ["hi"]}),
        ("messages[0].role", {"messages": [{"role": "boss", "content": "x"}]}),
        ("messages[0].content", {"messages": user(7)}),
        ("messages[0].content", {"messages": user([])}),
        ("messages[0].content[0]", {"messages": user([{"type": "spell"}])}),
        ("messages[0].tool_call_id", {"messages": [{"role": "tool", "content": "x"}]}),
        ("messages[0].content[0]", {"messages": image("http://169.254.169.254/latest")}),
        ("messages[0].content[0]", {"messages": image("file:///etc/passwd")}),
        ("messages[0].content[0]", {"messages": image("gopher://example.com/")}),
        ("messages[0].content[0]", {"messages": image("http://a@example.com/")}),
        ("messages[0].content[0]", {"messages": image("http://example.com\\@10.0.0.1/")}),
        ("messages[0].content[0]", {"messages": image("http://2130706433/")}),
        ("messages[0].content[0]", {"messages": image("http://[::1]/")}),
        ("messages[0].content[0]", {"messages": image("http://[bad/")}),
        ("max_tokens", {"max_tokens": -1}),
        ("max_tokens", {"max_tokens": 0}),
        ("max_tokens", {"max_tokens": 1.5}),
        ("max_tokens", {"max_tokens": "5"}),
        ("max_tokens", {"max_tokens": 2**63}),
        ("max_tokens", {"max_tokens": True}),
        ("n", {"n": 0}),
        ("n", {"n": -1}),
        ("n", {"n": 10**9}),
        ("best_of", {"best_of": 1, "n": 2}),
        ("best_of", {"best_of": 10**9}),
        ("temperature", {"temperature": -1}),
        ("temperature", {"temperature": 3}),
        ("temperature", {"temperature": "hot"}),
        ("temperature", {"temperature": True}),
        ("top_p", {"top_p": 0}),
        ("top_p", {"top_p": 1.1}),
        ("presence_penalty", {"presence_penalty": 2.1}),
        ("frequency_penalty", {"frequency_penalty": -2.1}),
        ("stop", {"stop": ["a"] * 5}),
        ("stop", {"stop": ""}),
        ("stop", {"stop": "x" * 1_000_000}),
        ("stop", {"stop": [1]}),
        ("logit_bias", {"logit_bias": {"1": 1e9}}),
        ("logit_bias", {"logit_bias": {"the": 1}}),
        ("logit_bias", {"logit_bias": {str(number): 1 for number in range(2000)}}),
        ("stream", {"stream": "yes"}),
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("stream_options", {"stream": True, "stream_options": {"include_usage": "yes"}}),
        ("response_format", {"response_format": "json"}),
        ("response_format", {"response_format": {"type": "json_object_false"}}),
        ("response_format", {"response_format": {"type": "json_schema", "json_schema": ""}}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}] * 2}),
        ("tools", {"tools": [{"type": "function", "function": {"name": "no spaces"}}]}),
        ("tools", {"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(10_000)]}),
        ("seed", {"seed": "x"}),
        ("top_logprobs", {"top_logprobs": 21}),
    ],
)
def test_nonsense_in_a_chat_is_refused_and_named(param: str, fields: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(**fields)
    assert caught.value.param == param
    assert caught.value.status == 400


@pytest.mark.parametrize("prompt", [None, "", [], [""], ["a", 1], [-1], [[]], [[1], "a"], {"a": 1}, ["x"] * 9, [True]])
def test_a_prompt_that_is_none_is_refused(prompt: object) -> None:
    with pytest.raises(BadRequest) as caught:
        completion(prompt)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    "messages",
    [
        image("https://example.com/i.png"),
        image("data:image/png;base64,AAAA"),
        image("https://93.184.216.34/i.png"),
        [*user("call it"), {"role": "assistant", "content": None, "tool_calls": []}],
        [{"role": "tool", "content": "42", "tool_call_id": "c1"}],
    ],
)
def test_what_the_api_allows_is_let_through(messages: list[object]) -> None:
    assert chat(messages=messages, stop=["a", "b"], temperature=0, seed=1, logit_bias={"5": -100}, tools=None)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"   ", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"null", "invalid_json"),
        (b'"x"', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"model":"\xff"}', "invalid_json"),
        (b'{"model":NaN}', "invalid_json"),
        (b'{"model":1e999}', "invalid_json"),
        (b'{"model":"\\ud800"}', "invalid_json"),
        (b'{"a":' * 100_000, "json_too_deep"),
        (b'{"model":"m","model":"n"}', "duplicate_key"),
    ],
)
def test_a_body_that_is_not_one_clean_json_object_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(RouterError) as caught:
        API.inbound(CHAT, raw, {}, "id", 0.0)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_models_lists_names_and_aliases() -> None:
    assert [model["id"] for model in orjson.loads(API.models())["data"]] == ["m", "default"]


@pytest.mark.parametrize("offered", ["a b", "x" * 65, "", "é", "a\r\nb", "a/b", "a\n"])
def test_a_request_id_unsafe_in_logs_is_replaced(offered: str) -> None:
    assert request_id(offered, "fresh") == "fresh"


def test_a_safe_request_id_is_kept() -> None:
    assert request_id("Trace_1-a", "fresh") == "Trace_1-a"
    assert request_id(None, "fresh") == "fresh"
