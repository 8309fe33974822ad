from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.errors import BadUpstream
from router.sse import Scanner


class Twin:
    """What a scanner must say, found by parsing every event of the whole stream."""

    def __init__(self, stream: bytes, *, drop_usage_event: bool) -> None:
        self.content_events, self.done, self.left_out = 0, False, False
        self.usage: Any = None
        self.finish_reasons: dict[int, str] = {}
        self.choices: set[int] = set()
        self.error: Any = None
        self.out = b""
        start = 0
        for match in re.finditer(rb"\n\n|\n\r\n|\n\r(?=[^\n])|\r\r\n|\r\r", stream):
            event, start = stream[start : match.end()], match.end()
            kept = self.event(event, drop_usage_event)
            self.out += event if kept else b""
            self.left_out = self.left_out or not kept
            if self.done or self.error is not None:
                break

    def event(self, event: bytes, drop_usage_event: bool) -> bool:
        lines = re.split(rb"\r\n|\n|\r", event)
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        kinds = [line[6:].removeprefix(b" ") for line in lines if line.startswith(b"event:")]
        if not data:
            return True
        if data.strip() == b"[DONE]":
            self.done = True
            return bool(self.choices) and self.choices == self.finish_reasons.keys()
        try:
            said = json.loads(data.decode(), strict=True)
        except (UnicodeDecodeError, json.JSONDecodeError):
            said = None
        if kinds[-1:] == [b"error"] or (isinstance(said, dict) and said.get("error")):
            self.error = said["error"] if isinstance(said, dict) and said.get("error") else True
            return False
        return not isinstance(said, dict) or self.read(said, drop_usage_event)

    def read(self, said: dict[str, Any], drop_usage_event: bool) -> bool:
        if isinstance(said.get("usage"), dict):
            self.usage = said["usage"]
            if not said.get("choices") and drop_usage_event:
                return False
        spoken = False
        for choice in said.get("choices", []):
            self.choices.add(choice.get("index", 0))
            if choice.get("finish_reason"):
                self.finish_reasons[choice.get("index", 0)] = choice["finish_reason"]
            delta = choice.get("delta", {})
            names = ("content", "reasoning_content", "reasoning", "tool_calls")
            spoken = spoken or any(delta.get(name) for name in names) or bool(choice.get("text"))
        self.content_events += spoken
        return True


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    [
        "",
        " the",
        "a",
        "id",
        "index",
        "content",
        '"',
        "\\",
        "\\\\",
        '","finish_reason":"stop',
        "\n\n",
        "\r\n",
        "é",
        "你好",
        "😀",
    ]
)
field_names = st.sampled_from(["content", "content", "content", "reasoning_content", "reasoning", "text"])


@st.composite
def chunks(draw: st.DrawFn) -> dict[str, Any]:
    """One event of a stream: mostly tokens, in a fixed outer shape as engines have it."""
    name = draw(field_names)
    text = draw(texts)
    inner: dict[str, Any] = {"text": text} if name == "text" else {"delta": {name: text}}
    if draw(st.integers(0, 9)) == 0:
        inner["delta"] = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
    finish = draw(st.sampled_from([None] * 9 + ["stop"]))
    index = draw(st.sampled_from([0, 0, 0, 1]))
    choice = {"index": index} | inner | {"logprobs": None, "finish_reason": finish}
    chunk: dict[str, Any] = {"id": "x", "object": "chunk", "created": draw(st.sampled_from([1, 1, 1, 2]))}
    chunk |= {"choices": [choice]}
    usage = draw(st.sampled_from([..., ..., ..., None, {"completion_tokens": 3}]))
    if usage is not ...:
        chunk["usage"] = usage
    if draw(st.integers(0, 19)) == 0:
        chunk |= {"choices": [], "usage": {"completion_tokens": 7}}
    if draw(st.integers(0, 29)) == 0:
        chunk["error"] = draw(st.sampled_from([None, {"message": "boom", "code": 500}, "boom"]))
    return chunk


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events in one or several spellings of JSON and of line ends, with comments, other fields and rubbish between."""
    end_of_line = st.sampled_from([draw(st.sampled_from(["\n", "\r\n", "\r"]))] * 9 + ["\n", "\r\n", "\r"])
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    ascii_only = draw(st.booleans())
    sort_keys = draw(st.booleans())
    out = b""
    for _ in range(draw(st.integers(0, 12))):
        eol = draw(end_of_line).encode()
        kind = draw(st.integers(0, 19))
        if kind == 0:
            out += (
                draw(st.sampled_from([b": ping", b"", b"retry: 5", b"data", b"data: rubbish", b"data: \xff{"]))
                + eol * 2
            )
            continue
        if kind == 1:
            out += b"data: [DONE]" + eol * 2
            continue
        text = json.dumps(draw(chunks()), separators=separators, ensure_ascii=ascii_only, sort_keys=sort_keys).encode()
        if kind == 2:
            text = text.replace(b'"choices"', eol + b'data: "choices"', 1)
        if kind == 3:
            out += draw(st.sampled_from([b"id: 7", b": hello", b"event: message", b"event: error"])) + eol
        out += (b"data:" if kind == 4 else b"data: ") + text + eol * 2
    return out + draw(st.sampled_from([b"", b"data: {", b"data: [DONE]\n", b"\n"]))


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(streams(), st.lists(st.integers(0, 10_000), max_size=20), st.booleans())
@example(b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\ndata: [DONE]\r\n\r\n', list(range(99)), False)
def test_the_scanner_agrees_with_parsing_everything_wherever_the_stream_is_cut(
    stream: bytes, cuts: list[int], drop: bool
) -> None:
    twin = Twin(stream, drop_usage_event=drop)
    scanner = Scanner(drop_usage_event=drop)
    out = b"".join(scanner.feed(piece) for piece in pieces(stream, cuts))
    assert scanner.content_events == twin.content_events
    assert scanner.first_content == (twin.content_events > 0)
    assert scanner.usage == twin.usage
    assert scanner.finish_reasons == twin.finish_reasons
    assert scanner.done == twin.done
    assert (scanner.error is not None) == (twin.error is not None)
    assert re.sub(rb"[\r\n]", b"", out) == re.sub(rb"[\r\n]", b"", twin.out)
    if not twin.left_out:  # byte for byte, at most with an empty line more
        assert stream.startswith(out)
        assert not stream[: len(out)].removeprefix(twin.out).strip(b"\r\n")


def token(text: str, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None} | more
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = [ROLE, token("Hel"), token("lo"), token("", finish_reason="stop"), USAGE, DONE]


def test_a_whole_answer_is_complete_and_passes_byte_for_byte() -> None:
    scanner = Scanner()
    assert b"".join(scanner.feed(event) for event in ANSWER) == b"".join(ANSWER)
    assert scanner.complete
    assert (scanner.content_events, scanner.finish_reasons) == (2, {0: "stop"})
    assert scanner.usage == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_role_is_not_a_first_token() -> None:
    scanner = Scanner()
    scanner.feed(ROLE)
    assert not scanner.first_content
    scanner.feed(token("H"))
    assert scanner.first_content


@pytest.mark.parametrize("cut", range(1, sum(map(len, ANSWER))))
def test_a_byte_passes_only_with_its_whole_event(cut: int) -> None:
    stream = b"".join(ANSWER)
    scanner = Scanner()
    first = scanner.feed(stream[:cut])
    assert first == stream[: stream.rfind(b"\n\n", 0, cut) + 2 if b"\n\n" in stream[:cut] else 0]
    assert first + scanner.feed(stream[cut:]) == stream
    assert scanner.complete


def test_a_usage_event_the_client_did_not_ask_for_is_read_and_left_out() -> None:
    scanner = Scanner(drop_usage_event=True)
    assert scanner.feed(b"".join(ANSWER)) == b"".join(ANSWER).replace(USAGE, b"")
    assert scanner.usage is not None
    assert scanner.complete


def test_usage_inside_a_content_event_stays() -> None:
    event = b'data: {"choices":[{"index":0,"text":"a"}],"usage":{"completion_tokens":1}}\n\n'
    scanner = Scanner(drop_usage_event=True)
    assert scanner.feed(event) == event
    assert scanner.usage == {"completion_tokens": 1}


def test_done_without_a_finish_reason_is_not_complete() -> None:
    scanner = Scanner()
    scanner.feed(ROLE + token("a") + DONE)
    assert scanner.done
    assert not scanner.complete


def test_done_alone_is_not_complete() -> None:
    scanner = Scanner()
    assert scanner.feed(DONE) == b""
    assert not scanner.complete


def test_every_choice_must_finish() -> None:
    scanner = Scanner()
    scanner.feed(token("a") + token("b", index=1) + token("", finish_reason="stop"))
    scanner.feed(DONE)
    assert not scanner.complete
    assert scanner.finish_reasons == {0: "stop"}


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'data: {"error":{"message":"boom","code":400}}\n\n', {"message": "boom", "code": 400}),
        (b'data: {"error":"boom"}\n\n', {"message": "boom"}),
        (b'data: {"object":"error","message":"boom"}\n\n', {"object": "error", "message": "boom"}),
        (b'event: error\ndata: {"message":"boom"}\n\n', {"message": "boom"}),
        (b"event: error\ndata: boom\n\n", {"message": "boom"}),
    ],
)
def test_an_error_event_and_all_after_it_stay_behind(event: bytes, error: dict[str, object]) -> None:
    scanner = Scanner()
    assert scanner.feed(token("a") + event + token("b") + DONE) == token("a")
    assert scanner.feed(token("c")) == b""
    assert scanner.error == error
    assert not scanner.done
    assert not scanner.complete


def test_nothing_passes_after_done() -> None:
    scanner = Scanner()
    whole = token("a", finish_reason="stop") + DONE
    assert scanner.feed(whole + token("b")) == whole
    assert scanner.feed(token("c")) == b""
    assert scanner.content_events == 1


@pytest.mark.parametrize(
    ("said", "choices"),
    [
        (token("a"), 1),
        (token("a", finish_reason="stop"), 2),
        (token("a", finish_reason="stop") + token("b", index=1), 1),
        (b"", 1),
    ],
    ids=["no finish reason", "a choice is missing", "one of two has not finished", "nothing at all"],
)
def test_done_stays_behind_where_the_answer_is_not_whole(said: bytes, choices: int) -> None:
    scanner = Scanner(choices=choices)
    assert scanner.feed(said + DONE) == said
    assert scanner.done
    assert not scanner.complete


def test_an_event_without_end_is_refused_at_the_limit_and_costs_no_more_memory() -> None:
    scanner = Scanner(max_event_bytes=1000)
    assert scanner.feed(b"data: " + b"x" * 900) == b""
    with pytest.raises(BadUpstream, match="1000 bytes"):
        scanner.feed(b"x" * 100)


def test_a_long_event_below_the_limit_passes_in_any_number_of_pieces() -> None:
    event = token("x" * 300_000)
    scanner = Scanner()
    out = [scanner.feed(event[at : at + 1000]) for at in range(0, len(event), 1000)]
    assert b"".join(out) == event
    assert scanner.content_events == 1


def test_only_a_few_tokens_of_a_long_answer_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    import router.sse

    parsed = 0
    loads = router.sse.orjson.loads

    class Counting:
        JSONDecodeError = router.sse.orjson.JSONDecodeError
        dumps = staticmethod(router.sse.orjson.dumps)

        @staticmethod
        def loads(data: bytes) -> Any:
            nonlocal parsed
            parsed += 1
            return loads(data)

    monkeypatch.setattr(router.sse, "orjson", Counting)
    scanner = Scanner()
    for number in range(1000):
        scanner.feed(token(f" word{number}"))
    assert scanner.content_events == 1000
    assert parsed <= 4


def test_a_token_that_only_looks_like_the_last_one_is_parsed() -> None:
    scanner = Scanner()
    scanner.feed(token("one"))
    scanner.feed(token("two"))
    finish = token("three").replace(b'"}', b'","finish_reason":"stop"}', 1)
    sly = token('x"},"finish_reason":"stop","y":{"z":"')
    scanner.feed(finish)
    scanner.feed(sly)
    scanner.feed(token(""))
    assert scanner.content_events == 4
    assert scanner.finish_reasons == {}


def test_a_token_that_is_not_utf8_passes_and_does_not_count() -> None:
    scanner = Scanner()
    scanner.feed(token("one"))
    broken = token("two").replace(b"two", b"\xff")
    assert scanner.feed(broken) == broken
    assert scanner.feed(token("zw\u00f6lf")) == token("zw\u00f6lf")
    assert scanner.content_events == 2


def test_a_stream_that_changes_more_than_its_text_is_parsed_event_by_event() -> None:
    scanner = Scanner()
    for number in range(50):
        scanner.feed(token("text", logprobs={"content": [{"logprob": -number}]}))
        scanner.feed(token("\u00e9\n", stop_reason=number))
    assert scanner.content_events == 100
