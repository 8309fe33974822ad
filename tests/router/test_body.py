from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.body import parse
from router.errors import BadRequest

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", '\\"', "{", "}", "[", "]", ",", ":", "\n", "\\\\", 'a":1,"b', "é", "\u2028", "\x00"]
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=6)
spacings = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", " :\r\n ")])


@st.composite
def written(draw: st.DrawFn, fields: dict[str, Any]) -> bytes:
    """One of the many ways to write an object down."""
    separators = draw(spacings)
    ascii_only = draw(st.booleans())
    indent = draw(st.sampled_from([None, 1]))
    text = json.dumps(fields, separators=separators, ensure_ascii=ascii_only, indent=indent)
    return draw(st.sampled_from(["", " ", "\n\t"])).encode() + text.encode() + draw(st.sampled_from([b"", b"\r\n "]))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data(), objects)
def test_a_body_is_read_and_kept_as_it_came(data: st.DataObject, fields: dict[str, Any]) -> None:
    raw = data.draw(written(fields))
    body = parse(raw)
    assert body.raw is raw
    assert body.fields == orjson.loads(raw)
    for (name, value), (start, value_start, end) in zip(body.fields.items(), body.spans, strict=True):
        assert orjson.loads(b"{" + raw[start:end] + b"}") == {name: value}
        assert orjson.loads(raw[value_start:end]) == value


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data(), objects, objects)
def test_setting_and_dropping_gives_what_a_dict_would(
    data: st.DataObject, fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    names = sorted(fields)
    dropped = data.draw(st.sets(st.sampled_from([*names, "absent"]), max_size=4))
    overwritten = {name: data.draw(values) for name in data.draw(st.sets(st.sampled_from([*names, "new"]), max_size=2))}
    changes = {name: value for name, value in (changes | overwritten).items() if name not in dropped}
    raw = data.draw(written(fields))
    result = parse(raw).with_fields(changes, dropped)
    expected = {name: value for name, value in (fields | changes).items() if name not in dropped}
    assert orjson.loads(result) == orjson.loads(orjson.dumps(expected))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data(), objects)
def test_nothing_to_change_gives_the_very_same_bytes(data: st.DataObject, fields: dict[str, Any]) -> None:
    raw = data.draw(written(fields))
    body = parse(raw)
    assert body.with_fields(dict(body.fields), {"not there"} - fields.keys()) is raw


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data(), objects.filter(bool), values)
def test_a_repeated_top_level_key_is_refused(data: st.DataObject, fields: dict[str, Any], value: Any) -> None:
    raw = data.draw(written(fields)).strip()
    name = data.draw(st.sampled_from(sorted(fields)))
    again = json.dumps({name: value}, ensure_ascii=data.draw(st.booleans())).encode()
    with pytest.raises(BadRequest) as caught:
        parse(raw[:-1].rstrip() + b"," + again[1:])
    assert caught.value.code == "duplicate_key"


def test_a_key_repeated_in_an_escaped_spelling_is_refused() -> None:
    with pytest.raises(BadRequest, match="'model' more than once"):
        parse(rb'{"model":"a","mod\u0065l":"b"}')


def test_a_key_repeated_further_down_is_the_engines_business() -> None:
    assert parse(b'{"a":{"b":1,"b":2},"b":3}').fields == {"a": {"b": 2}, "b": 3}


def test_untouched_numbers_keep_every_digit() -> None:
    raw = b'{"seed":123456789012345678901234567890,"t":1.10,"stream":true}'
    assert parse(raw).with_fields({"stream": False}) == raw.replace(b"true", b"false")


def test_true_is_not_one() -> None:
    assert parse(b'{"n":true}').with_fields({"n": 1}) == b'{"n":1}'


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b" \n", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"a":1,}', "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"a":1} {}', "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":-Infinity}', "invalid_json"),
        (b'{"a":1e999}', "invalid_json"),
        (b'{"a":' + b"1" * 5000 + b"}", "invalid_json"),
        (b'{"a":"\xff"}', "invalid_json"),
        (b'{"a":"\\ud800"}', "invalid_json"),
        (b'\xef\xbb\xbf{"a":1}', "invalid_json"),
        (b"[" * 100_000, "json_too_deep"),
        (b'{"a":' * 100_000, "json_too_deep"),
        (b"[]", "invalid_json"),
        (b'"x"', "invalid_json"),
        (b"null", "invalid_json"),
        (b"1", "invalid_json"),
        (b"true", "invalid_json"),
    ],
)
def test_bad_bodies_are_the_clients_fault(raw: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(raw)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert caught.value.message


def test_a_syntax_error_says_where_it_is() -> None:
    with pytest.raises(BadRequest, match="line 2 column 5"):
        parse(b'{"a":1,\n"b":}')
