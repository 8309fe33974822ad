"""Reads a stream of completion events while it passes through: complete events only, and never re-encoded."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from router.errors import BadUpstream

MAX_EVENT_BYTES = 1 << 20

_BLANK = re.compile(rb"\n(?:\r?\n|\r(?=[^\n]))|\r\r\n?")
"""The end of a line and an empty line, in any of the three line ends of the standard (WHATWG HTML, 9.2.5).

Between CRLF lines a CR waits for what follows it, so that no CRLF is torn apart."""
_LINE_END = re.compile(rb"\r\n|\n|\r")
_PLAIN_TEXT = re.compile(rb'[^\x00-\x1f"\\]+')
"""Inside of a JSON string without escapes; together with valid UTF-8 this is the exact grammar."""
_TEXT_FIELDS = ("content", "reasoning_content", "reasoning")
_PROBE = "\x02probe\x03"
_LEARNING_LOSSES = 8
"""Templates tried in vain before giving up: some streams change more than the text from event to event."""


class Scanner:
    """One stream of an OpenAI-shaped completion.

    Attributes:
        content_events: events that carried text, reasoning or a piece of a tool call.
        usage: the last usage object.
        finish_reasons: by choice index.
        error: the worker's error object; that event and all after it are not passed on.
        done: `data: [DONE]` was seen; nothing after it is passed on, and it only where it ends a whole answer, for
            clients take it for success whatever follows.
    """

    def __init__(
        self, *, choices: int = 1, drop_usage_event: bool = False, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        """`choices` is how many answers the client is owed."""
        self.content_events = 0
        self.usage: dict[str, object] | None = None
        self.finish_reasons: dict[int, str] = {}
        self.error: dict[str, object] | None = None
        self.done = False
        self._owed = choices
        self._drop_usage_event = drop_usage_event
        self._max_event_bytes = max_event_bytes
        self._choices: set[int] = set()
        self._tail = bytearray()
        self._carriage_returns = False
        self._template: tuple[bytes, bytes] | None = None
        self._learnt = self._matched = 0

    @property
    def first_content(self) -> bool:
        """Whether the first token has been seen."""
        return self.content_events > 0

    @property
    def complete(self) -> bool:
        """Whether this was a whole answer: `[DONE]`, no error, and a finish reason for every choice seen and owed."""
        finished = len(self.finish_reasons) >= self._owed and self._choices == self.finish_reasons.keys()
        return self.done and self.error is None and finished

    def feed(self, data: bytes) -> bytes:
        """The bytes that may be passed on now: whole events, as they came. An endless event raises `BadUpstream`."""
        if self.done or self.error is not None:
            return b""
        if not self._tail and self._is_like_the_last(data):
            return data
        block = self._whole_events(data)
        return self._passed(block) if block else b""

    def _whole_events(self, data: bytes) -> bytes:
        """Everything up to the last blank line; what follows waits for the next piece."""
        # A carriage return cannot stand inside JSON, so a stream either uses it to end lines or has none at all.
        self._carriage_returns = self._carriage_returns or b"\r" in data
        tail = self._tail
        if not tail and not self._carriage_returns and data.endswith(b"\n\n"):
            return data
        seen = len(tail)
        tail += data
        if self._carriage_returns:
            end = max((match.end() for match in _BLANK.finditer(tail, max(0, seen - 3))), default=0)
        else:
            end = tail.rfind(b"\n\n", max(0, seen - 1)) + 2
        if end < 2:
            if len(tail) > self._max_event_bytes:
                raise BadUpstream(detail=f"an event of more than {self._max_event_bytes} bytes")
            return b""
        block = bytes(tail[:end])
        del tail[:end]
        return block

    def _passed(self, block: bytes) -> bytes:
        """Read the events of `block` and leave out those that must not go on."""
        kept: list[bytes] = []
        whole = True
        for event in self._events(block):
            if self._keeps(event):
                kept.append(event)
            else:
                whole = False
            if self.done or self.error is not None:
                whole = whole and sum(map(len, kept)) == len(block)
                break
        return block if whole else b"".join(kept)

    def _events(self, block: bytes) -> Iterator[bytes]:
        start = 0
        while start < len(block):
            if self._carriage_returns:
                match = _BLANK.search(block, start)
                end = match.end() if match else 0
            else:
                end = block.find(b"\n\n", start) + 2
            end = end if end > 1 else len(block)  # an odd line end left over
            yield block[start:end]
            start = end

    def _keeps(self, event: bytes) -> bool:
        """Take note of one event; whether it goes on to the client."""
        if self._is_like_the_last(event):
            return True
        data, kind = _data(event)
        if data is None:
            return True
        if data.strip() == b"[DONE]":
            self.done = True
            return self.complete
        try:
            said = orjson.loads(data)
        except orjson.JSONDecodeError:
            said = None
        if kind == b"error" or _is_error(said):
            self.error = _error(said, data)
            return False
        return not isinstance(said, dict) or self._reads(said, event)

    def _reads(self, said: dict[str, object], event: bytes) -> bool:
        choices = said.get("choices")
        choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        usage = said.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
            if not choices and self._drop_usage_event:
                return False
        texts = [text for choice in choices for text in self._choice(choice)]
        if texts:
            self.content_events += 1
        if len(texts) == 1 == len(choices) and usage is None and choices[0].get("finish_reason") is None:
            self._learn(event, texts[0])
        return True

    def _choice(self, choice: dict[str, object]) -> list[object]:
        """What this choice says, if anything; notes its finish."""
        index = choice.get("index", 0)
        if not isinstance(index, int):
            return []
        self._choices.add(index)
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            self.finish_reasons[index] = reason
        return _content(choice)

    # Tokens of one stream differ in one string only. Once an event is understood, the bytes before and after its text
    # are a template: an event that has both, and between them the inside of a plain JSON string, says the same thing
    # with another text, whatever the order and spacing of its fields. That spares parsing nearly every token.

    def _is_like_the_last(self, event: bytes) -> bool:
        if self._template is None:
            return False
        before, after = self._template
        if not (event.startswith(before) and event.endswith(after)):
            return False
        start, end = len(before), len(event) - len(after)
        if end <= start or not _PLAIN_TEXT.fullmatch(event, start, end):
            return False
        if not event.isascii() and not _is_utf8(event):
            return False
        self.content_events += 1
        self._matched += 1
        return True

    def _learn(self, event: bytes, text: object) -> None:
        """Find the text in the event, and make sure by putting another in its place."""
        if not isinstance(text, str) or self._learnt - self._matched >= _LEARNING_LOSSES:
            return
        if self._template and event.startswith(self._template[0]) and event.endswith(self._template[1]):
            return  # the template is right, the text has escapes
        self._learnt += 1
        quoted = b'"' + text.encode() + b'"'
        if event.count(quoted) != 1 or not _PLAIN_TEXT.fullmatch(quoted, 1, len(quoted) - 1):
            return
        start = event.index(quoted) + 1
        before, after = event[:start], event[start + len(text.encode()) :]
        if _says_probe(before + orjson.dumps(_PROBE)[1:-1] + after):
            self._template = before, after


def _data(event: bytes) -> tuple[bytes | None, bytes]:
    """The data of an event, its lines joined, and the event's type; None when it has no data (a comment)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2], b""
    lines: list[bytes] = []
    kind = b""
    for line in _LINE_END.split(event):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            lines.append(value)
        elif name == b"event":
            kind = value
    return (b"\n".join(lines) if lines else None), kind


def _content(choice: dict[str, object]) -> list[object]:
    """The non-empty texts and tool calls of a choice: of a chat's delta, or the text of a completion."""
    delta = choice.get("delta")
    if isinstance(delta, dict):
        found = [delta[name] for name in _TEXT_FIELDS if delta.get(name)]
        return found + [calls for calls in (delta.get("tool_calls"), delta.get("function_call")) if calls]
    return [choice["text"]] if choice.get("text") else []


def _says_probe(event: bytes) -> bool:
    data, _ = _data(event)
    try:
        said = orjson.loads(data or b"")
    except orjson.JSONDecodeError:
        return False
    return [_content(choice) for choice in said["choices"] if isinstance(choice, dict)] == [[_PROBE]]


def _is_error(said: object) -> bool:
    """`{"error": ...}` of today's engines, `{"object": "error", ...}` of older vLLM."""
    return isinstance(said, dict) and (bool(said.get("error")) or said.get("object") == "error")


def _error(said: object, data: bytes) -> dict[str, object]:
    error = (said.get("error") or said) if isinstance(said, dict) else data.decode(errors="replace")
    return error if isinstance(error, dict) else {"message": str(error)}


def _is_utf8(event: bytes) -> bool:
    try:
        event.decode()
    except UnicodeDecodeError:
        return False
    return True
