import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.answer import Answer, message
from loadgen.gaps import Gaps


def event(**fields: object) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def chat(content: str | None = None, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


DONE = b"data: [DONE]\n\n"
USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})


def read(*pieces: tuple[bytes, float]) -> tuple[Answer, Gaps]:
    gaps = Gaps()
    answer = Answer(gaps)
    for data, now in pieces:
        answer.feed(data, now)
    return answer, gaps


def test_the_first_token_is_the_first_content_not_the_role() -> None:
    role = event(choices=[{"delta": {"role": "assistant", "content": ""}}])
    answer, gaps = read((role, 1.0), (chat("a"), 2.0), (chat("b"), 2.5), (chat(finish="stop"), 2.6), (DONE, 2.7))
    assert answer.first_s == 2.0
    assert list(gaps.gap_s) == [0.5]
    assert answer.events == answer.output_tokens == 2
    assert answer.complete


def test_completions_and_reasoning_are_content_too() -> None:
    text = event(choices=[{"text": "x", "finish_reason": None}])
    thought = event(choices=[{"delta": {"reasoning_content": "hm"}}])
    call = event(choices=[{"delta": {"tool_calls": [{"index": 0}]}}])
    assert read((text + thought + call, 1.0))[0].events == 3


def test_the_servers_own_count_of_tokens_wins() -> None:
    answer, _ = read((chat("a lot at once"), 1.0), (USAGE, 1.1))
    assert (answer.prompt_tokens, answer.output_tokens, answer.events) == (7, 3, 1)


def test_a_stream_without_a_finish_reason_is_not_complete() -> None:
    assert not read((chat("a"), 1.0))[0].complete


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (event(error={"message": "worker died", "code": "upstream_truncated"}), "worker died"),
        (event(error="plain"), "plain"),
        (b"data: {nonsense\n\n", "not a JSON object"),
        (b"data: [1]\n\n", "not a JSON object"),
    ],
)
def test_errors_in_the_stream_are_kept(data: bytes, error: str) -> None:
    assert error in read((chat("a"), 1.0), (data, 1.1))[0].error


@given(st.data())
def test_cutting_the_stream_anywhere_changes_nothing(data: st.DataObject) -> None:
    stream = b": comment\r\n\r\n" + chat("a") + chat("é") + chat(finish="stop") + USAGE + DONE
    stream = stream.replace(b"\n", b"\r\n") if data.draw(st.booleans()) else stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    answer, _ = read(*((piece, 1.0) for piece in pieces))
    assert (answer.events, answer.output_tokens, answer.complete, answer.error) == (2, 3, True, "")


def test_the_message_of_an_error_is_found_or_what_there_is_instead() -> None:
    assert message({"error": {"message": "no"}}) == "no"
    assert message({"detail": "x"}) == "{'detail': 'x'}"
