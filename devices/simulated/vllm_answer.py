"""vLLM's answers as bytes: one JSON completion, or server-sent events whose frames are built once per request."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from devices.simulated.token_text import text, token
from devices.simulated.vllm_api import Ask

DONE = b"data: [DONE]\n\n"


class Answer:
    """Everything said about one request. `cached_tokens` counts prompt KV that came from elsewhere."""

    def __init__(self, ask: Ask, answer_id: str, model: str, created: int) -> None:
        self._ask = ask
        self._base: dict[str, object] = {"id": answer_id, "created": created, "model": model}
        self.cached_tokens: int | None = None

    def whole(self, params: Mapping[str, object] | None = None) -> bytes:
        """The JSON of a request that was not streamed; `params` are the `kv_transfer_params` of a prefill leg."""
        ask = self._ask
        said = text(ask.seed, ask.output_tokens)
        choice: dict[str, object] = {"index": 0, "logprobs": None, "finish_reason": ask.finish_reason}
        choice["stop_reason"] = None
        if ask.chat:
            choice["message"] = {"role": "assistant", "content": said, "refusal": None, "tool_calls": []}
        else:
            choice["text"] = said
        kind = "chat.completion" if ask.chat else "text_completion"
        body = {**self._base, "object": kind, "choices": [choice], "usage": self._usage()}
        return orjson.dumps({**body, "system_fingerprint": None, "kv_transfer_params": params})

    def role(self) -> bytes:
        """The event before the first token of a chat."""
        if not self._ask.chat:
            return b""
        return self._event(self._delta({"role": "assistant", "content": ""}))

    def frame(self) -> tuple[bytes, bytes]:
        """What stands before and after the word in the event of every token but the last."""
        return self._around(self._word_chunk())

    def last(self, params: Mapping[str, object] | None = None) -> bytes:
        """The last token with the finish reason, the usage if asked for, and the end mark."""
        ask = self._ask
        more = {} if params is None else {"kv_transfer_params": params}
        before, after = self._around(self._word_chunk(ask.finish_reason, **more))
        usage = self._event([], usage=self._usage()) if ask.include_usage else b""
        return before + token(ask.seed, ask.output_tokens - 1) + after + usage + DONE

    def _usage(self) -> dict[str, object]:
        prompt, output = self._ask.prompt_tokens, self._ask.output_tokens
        details = None if self.cached_tokens is None else {"cached_tokens": self.cached_tokens}
        usage: dict[str, object] = {"prompt_tokens": prompt, "total_tokens": prompt + output}
        return {**usage, "completion_tokens": output, "prompt_tokens_details": details}

    def _word_chunk(self, finish_reason: str | None = None, **more: object) -> dict[str, object]:
        if self._ask.chat:
            return self._chunk(self._delta({"content": _WORD}, finish_reason), **more)
        choice = {"index": 0, "text": _WORD, "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
        return self._chunk([choice], **more)

    def _delta(self, delta: dict[str, str], finish_reason: str | None = None) -> list[dict[str, object]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    def _chunk(self, choices: list[dict[str, object]], **more: object) -> dict[str, object]:
        kind = "chat.completion.chunk" if self._ask.chat else "text_completion"
        return {**self._base, "object": kind, **more, "choices": choices}  # last, so that the last word is ours

    def _event(self, choices: list[dict[str, object]], **more: object) -> bytes:
        return b"data: " + orjson.dumps(self._chunk(choices, **more)) + b"\n\n"

    def _around(self, chunk: dict[str, object]) -> tuple[bytes, bytes]:
        before, _, after = orjson.dumps(chunk).rpartition(_WORD_BYTES)
        return b"data: " + before, after + b"\n\n"


_WORD = "@tokenyard word@"
_WORD_BYTES = _WORD.encode()
"""Stands for the word while a frame is built; names and ids before it may look the same."""
