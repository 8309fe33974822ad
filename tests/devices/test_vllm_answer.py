"""The bytes of an answer: every frame is JSON, every word four bytes, the streamed text equals the whole one."""

from __future__ import annotations

import orjson
import pytest

from devices.simulated.token_text import text, token
from devices.simulated.vllm_answer import Answer
from devices.simulated.vllm_api import Ask

AWKWARD = 'mo"del @tokenyard word@ \\'


def ask(*, chat: bool = True, include_usage: bool = False, output_tokens: int = 3) -> Ask:
    return Ask(chat, 7, 12345, output_tokens, "stop", True, include_usage, False, None)


def streamed(asked: Ask, params: dict[str, object] | None = None) -> list[dict[str, object]]:
    answer = Answer(asked, f"id {AWKWARD}", AWKWARD, 99)
    before, after = answer.frame()
    words = [before + token(asked.seed, index) + after for index in range(asked.output_tokens - 1)]
    events = (answer.role() + b"".join(words) + answer.last(params)).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    return [orjson.loads(event.removeprefix(b"data: ")) for event in events[:-2]]


def test_a_token_is_four_ascii_bytes_and_depends_on_prompt_and_place_only() -> None:
    words = {token(seed * 10**15, index) for seed in range(40) for index in range(40)}
    assert len(words) > 200
    assert {len(word) for word in words} == {4}
    assert text(5, 3).encode() == token(5, 0) + token(5, 1) + token(5, 2)
    assert text(5, 20) != text(6, 20)
    assert text(5, 20).startswith(text(5, 7))


@pytest.mark.parametrize("chat", [True, False])
def test_the_streamed_text_is_the_whole_text(chat: bool) -> None:
    asked = ask(chat=chat, output_tokens=20)
    said = "".join(
        choice["delta"].get("content", "") if chat else choice["text"]
        for event in streamed(asked)
        for choice in event["choices"]  # type: ignore[attr-defined]
    )
    whole = orjson.loads(Answer(asked, "x", "m", 1).whole())["choices"][0]
    assert said == text(asked.seed, 20) == (whole["message"]["content"] if chat else whole["text"])


def test_a_chat_stream_has_the_shape_of_vllm() -> None:
    role, first, _, last = streamed(ask())
    assert role["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert first["choices"] == [
        {"index": 0, "delta": {"content": text(12345, 1)}, "logprobs": None, "finish_reason": None}
    ]
    assert [choice["finish_reason"] for choice in last["choices"]] == ["stop"]  # type: ignore[attr-defined]
    assert {event["object"] for event in (role, first, last)} == {"chat.completion.chunk"}
    assert {(event["id"], event["model"], event["created"]) for event in (role, first, last)} == {
        (f"id {AWKWARD}", AWKWARD, 99)
    }


def test_a_text_stream_has_no_role_and_its_own_object() -> None:
    events = streamed(ask(chat=False))
    assert [event["object"] for event in events] == ["text_completion"] * 3


def test_usage_is_an_event_of_its_own_without_choices() -> None:
    *_, last, usage = streamed(ask(include_usage=True))
    assert "usage" not in last
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": None,
    }


def test_transfer_parameters_come_with_the_finish_reason_only() -> None:
    *others, last = streamed(ask(), {"remote_host": AWKWARD})
    assert last["kv_transfer_params"] == {"remote_host": AWKWARD}
    assert all("kv_transfer_params" not in event for event in others)


def test_kv_that_came_from_elsewhere_is_billed_as_cached() -> None:
    answer = Answer(ask(chat=False), "x", "m", 1)
    answer.cached_tokens = 7
    body = orjson.loads(answer.whole({"a": 1}))
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 7}
    assert body["kv_transfer_params"] == {"a": 1}
    assert body["object"] == "text_completion"
