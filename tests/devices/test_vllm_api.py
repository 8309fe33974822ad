"""What the simulated vLLM accepts, and how long it will answer."""

from __future__ import annotations

import orjson
import pytest

from devices.simulated.vllm_api import ApiError, Ask, Remote, parse

HELD = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_block_ids": [[1, 2]],
    "remote_engine_id": "gpu:gpu-0",
    "remote_request_id": "r-1",
    "remote_host": "10.0.0.1",
    "remote_port": 8000,
}


def read(*, chat: bool = False, **body: object) -> Ask:
    if not chat and "prompt" not in body:
        body["prompt"] = "abc " * 10
    return parse(orjson.dumps(body), chat=chat, model="m", max_model_len=1000)


def refused(*, chat: bool = False, **body: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(chat=chat, **body)
    return caught.value


def chat(*messages: object, **body: object) -> Ask:
    return read(chat=True, messages=list(messages), **body)


def test_a_prompt_counts_four_bytes_a_token_rounded_up() -> None:
    assert [read(prompt=text).prompt_tokens for text in ("", "a", "abcd", "abcde", "ü" * 3)] == [1, 1, 1, 2, 2]


def test_a_chat_is_the_contents_of_its_messages_one_after_the_other() -> None:
    parts = [{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]
    asked = chat(
        {"role": "system", "content": "1234"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
    )
    assert asked.prompt_tokens == 2
    assert asked.seed == chat({"role": "user", "content": "1234abcd"}).seed


def test_a_list_of_one_prompt_is_that_prompt_and_token_ids_are_counted() -> None:
    assert read(prompt=["abcd"]) == read(prompt="abcd")
    assert read(prompt=[[1, 2, 3]]) == read(prompt=[1, 2, 3])
    assert read(prompt=[1, 2, 3]).prompt_tokens == 3


@pytest.mark.parametrize("prompt", [None, [], 7, ["a", "b"], [[1], [2]], [1, "a"], [-1], [True], [[]], {"a": 1}])
def test_other_prompts_are_refused(prompt: object) -> None:
    assert refused(prompt=prompt).param == "prompt"


@pytest.mark.parametrize(
    "messages",
    [None, [], "hi", ["hi"], [{"content": "no role"}], [{"role": "user", "content": 7}]]
    + [[{"role": "user", "content": [part]}] for part in ("text", {"type": "image_url"}, {"text": 1})],
)
def test_other_messages_are_refused(messages: object) -> None:
    assert refused(chat=True, messages=messages).param == "messages"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (128, "stop")),
        ({"max_tokens": 5}, (5, "length")),
        ({"max_tokens": 500}, (128, "stop")),
        ({"max_tokens": 128}, (128, "length")),
        ({"vllm_xargs": {"tokenyard_output_tokens": 300}}, (300, "stop")),
        ({"vllm_xargs": {"tokenyard_output_tokens": 300}, "max_tokens": 400}, (300, "stop")),
        ({"vllm_xargs": {"tokenyard_output_tokens": 300}, "max_tokens": 1}, (1, "length")),
        ({"vllm_xargs": {"tokenyard_output_tokens": 5000}}, (990, "length")),
        ({"ignore_eos": True, "max_tokens": 400}, (400, "length")),
        ({"min_tokens": 200, "max_tokens": 400}, (200, "stop")),
        ({"max_completion_tokens": 5}, (128, "stop")),  # a field of the chat API only
        ({"vllm_xargs": None, "max_tokens": None}, (128, "stop")),
    ],
)
def test_an_answer_ends_at_its_own_length_or_at_the_limit(body: dict[str, object], expected: tuple[int, str]) -> None:
    asked = read(**body)
    assert (asked.output_tokens, asked.finish_reason) == expected


def test_a_chat_prefers_max_completion_tokens() -> None:
    asked = chat({"role": "user", "content": "hi"}, max_completion_tokens=3, max_tokens=9)
    assert (asked.output_tokens, asked.finish_reason) == (3, "length")


def test_a_request_beyond_the_context_is_refused_in_the_words_of_vllm() -> None:
    error = refused(max_tokens=991)
    assert error.status == 400
    assert "This model's maximum context length is 1000 tokens." in str(error)
    assert "requested 991 output tokens and your prompt contains 10 input tokens, for a total of 1001 tokens" in str(
        error
    )
    assert refused(prompt="abcd" * 1000).status == 400
    assert read(max_tokens=990).prompt_tokens == 10


def test_another_model_is_unknown() -> None:
    error = refused(model="gpt-5")
    assert (error.status, str(error)) == (404, "The model `gpt-5` does not exist.")
    assert orjson.loads(error.body())["error"] == {
        "message": "The model `gpt-5` does not exist.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
    assert read(model="m") == read()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"vllm_xargs": {"tokenyard_output_tokens": "many"}}, "tokenyard_output_tokens"),
    ],
)
def test_a_bad_field_is_refused_by_name(body: dict[str, object], param: str) -> None:
    error = refused(**body)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"text"', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError, match=r"^the body (is not JSON|must be a JSON object)"):
        parse(raw, chat=False, model="m", max_model_len=1000)


def test_usage_comes_with_a_stream_only_when_it_is_asked_for() -> None:
    assert read(stream=True, stream_options={"include_usage": True}).include_usage
    assert not read(stream=True, stream_options={}).include_usage
    assert not read(stream=True).include_usage


def test_a_prefill_leg_pins_and_a_decode_leg_knows_where_its_kv_is() -> None:
    assert read(kv_transfer_params={"do_remote_decode": True, "do_remote_prefill": False}).pin
    asked = read(kv_transfer_params=HELD)
    assert (asked.pin, asked.remote) == (False, Remote("gpu:gpu-0", "r-1", "10.0.0.1", 8000))
    assert Remote("gpu:gpu-0", "", "", 0).pool == "gpu"


@pytest.mark.parametrize("missing", sorted(HELD.keys() - {"do_remote_decode"}))
def test_an_incomplete_decode_leg_is_an_ordinary_request(missing: str) -> None:
    assert read(kv_transfer_params={key: value for key, value in HELD.items() if key != missing}).remote is None


@pytest.mark.parametrize("params", [None, {}, [], "nixl", {**HELD, "remote_port": "8000"}])
def test_malformed_transfer_parameters_are_ignored(params: object) -> None:
    asked = read(kv_transfer_params=params)
    assert (asked.pin, asked.remote) == (False, None)
