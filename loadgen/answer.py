"""Reading a streamed answer as it comes: when the first token came, the gaps after it, and whether it came whole."""

from __future__ import annotations

import orjson

from loadgen.gaps import Gaps


class Answer:
    """One OpenAI event stream, chat or completions, fed in pieces of any size.

    Attributes:
        first_s, last_s: of content events; None before the first.
        events: content events seen; tokens, where the server sends one event each.
        complete: a finish reason or `[DONE]` was seen; a stream that ends without was cut short.
        error: text of an error sent in band, empty if there was none.
    """

    def __init__(self, gaps: Gaps) -> None:
        self.first_s: float | None = None
        self.last_s = 0.0
        self.events = 0
        self.complete = False
        self.error = ""
        self.prompt_tokens: int | None = None
        self.cached_tokens = 0
        self._completion_tokens: int | None = None
        self._gaps = gaps
        self._rest = b""

    @property
    def output_tokens(self) -> int:
        """As the server counted them, else content events."""
        return self.events if self._completion_tokens is None else self._completion_tokens

    def feed(self, data: bytes, now: float) -> int:
        """Take the next bytes, received at `now`; returns how many content events ended in them."""
        before = self.events
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), now)
        return self.events - before

    def _event(self, payload: bytes, now: float) -> None:
        if payload == b"[DONE]":
            self.complete = True
            return
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict):
            self.error = self.error or f"an event is not a JSON object: {payload[:80]!r}"
        elif event.get("error"):
            self.error = message(event)
        else:
            self._read(event, now)

    def _read(self, event: dict[str, object], now: float) -> None:
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if choice.get("finish_reason"):
                self.complete = True
            if _has_content(choice):
                self._content(now)
        usage = event.get("usage")
        if isinstance(usage, dict):
            self._completion_tokens = usage.get("completion_tokens", self._completion_tokens)
            self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
            self.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0

    def _content(self, now: float) -> None:
        if self.first_s is None:
            self.first_s = now
        else:
            self._gaps.add(now - self.last_s)
        self.last_s = now
        self.events += 1


def _has_content(choice: dict[str, object]) -> bool:
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"))
    return bool(choice.get("text"))


def message(body: object) -> str:
    """The text of an OpenAI-shaped error, or what there is instead of one."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) and error.get("message"):
        return str(error["message"])
    return str(error or body)[:200]
