"""What a client may ask of vLLM's OpenAI server, read and checked as vLLM does. Pure: bytes in, an `Ask` out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import xxhash

from devices.simulated.token_text import tokens_in

DEFAULT_OUTPUT_TOKENS = 128
"""Where a simulated answer ends by itself, unless `vllm_xargs` names its length."""


class ApiError(Exception):
    """Becomes vLLM's error body: {"error": {"message", "type", "param", "code"}}."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.status = param, status

    def body(self) -> bytes:
        """`code` is the HTTP status, as in vLLM."""
        kind = "NotFoundError" if self.status == 404 else "BadRequestError"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.status}
        return orjson.dumps({"error": error})


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the KV cache of a prompt lies: a prefill leg's `kv_transfer_params`, handed on by a router."""

    engine_id: str
    request_id: str
    host: str
    port: int

    @property
    def pool(self) -> str:
        """Pool of the sender; simulated workers name their engine "<pool>:<worker>"."""
        return self.engine_id.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Ask:
    """One accepted request.

    Attributes:
        seed: hash of the prompt; decides the answer's text.
        output_tokens: how long the answer will be, and `finish_reason` why it ends there.
        pin: a prefill leg; another worker will fetch the KV.
        remote: a decode leg; where to fetch it.
    """

    chat: bool
    prompt_tokens: int
    seed: int
    output_tokens: int
    finish_reason: str
    stream: bool
    include_usage: bool
    pin: bool
    remote: Remote | None


def parse(raw: bytes, *, chat: bool, model: str, max_model_len: int) -> Ask:
    """Read a body for the model served here; raises `ApiError`. Unknown fields are ignored, as in vLLM.

    orjson refuses lone surrogates, so every string in it has a UTF-8 form.
    """
    body = _object(raw)
    if body.get("model") not in (None, model):
        raise ApiError(f"The model `{body['model']}` does not exist.", param="model", status=404)
    if body.get("n") not in (None, 1):
        raise ApiError("a simulated worker answers one choice: n must be 1", param="n")
    stream = _flag(body, "stream")
    options = body.get("stream_options")
    if options is not None and not stream:
        raise ApiError("Stream options can only be defined when `stream=True`.", param="stream_options")
    prompt = _messages(body) if chat else _prompt(body)
    prompt_tokens = tokens_in(len(prompt)) if isinstance(prompt, bytes) else len(prompt)
    output_tokens, finish_reason = _length(body, chat, prompt_tokens, max_model_len)
    params = body.get("kv_transfer_params") or {}
    return Ask(
        chat=chat,
        prompt_tokens=prompt_tokens,
        seed=xxhash.xxh3_64_intdigest(prompt if isinstance(prompt, bytes) else orjson.dumps(prompt)),
        output_tokens=output_tokens,
        finish_reason=finish_reason,
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        pin=isinstance(params, dict) and params.get("do_remote_decode") is True,
        remote=_remote(params) if isinstance(params, dict) else None,
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError("the body must be a JSON object")
    return body


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise ApiError(f"{name} must be true or false", param=name)
    return bool(value)


def _count(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ApiError(f"{name} must be at least 1, got {value!r}.", param=name)
    return value


def _length(body: dict[str, Any], chat: bool, prompt_tokens: int, max_model_len: int) -> tuple[int, str]:
    limit = (_count(body, "max_completion_tokens") if chat else None) or _count(body, "max_tokens")
    room = max_model_len - prompt_tokens
    if room < (limit or 1):
        raise ApiError(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {limit or 1} "
            f"output tokens and your prompt contains {prompt_tokens} input tokens, for a total of "
            f"{(limit or 1) + prompt_tokens} tokens. Please reduce the length of the input prompt or the number of "
            "requested output tokens.",
            param="max_tokens",
        )
    allowed = limit or room
    natural = _natural_length(body, allowed)
    return (allowed, "length") if allowed <= natural else (natural, "stop")


def _natural_length(body: dict[str, Any], allowed: int) -> int:
    """Where the model would stop by itself; vLLM passes `vllm_xargs` through to its extensions untouched."""
    extra = body.get("vllm_xargs")
    told = _count(extra, "tokenyard_output_tokens") if isinstance(extra, dict) else None
    if told is not None:
        return told
    if _flag(body, "ignore_eos"):
        return allowed
    return max(DEFAULT_OUTPUT_TOKENS, _count(body, "min_tokens") or 0)


def _messages(body: dict[str, Any]) -> bytes:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError("messages must be a list with at least one message", param="messages")
    return b"".join([_content(message, number) for number, message in enumerate(messages)])


def _content(message: object, number: int) -> bytes:
    where = f"messages[{number}]"
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ApiError(f"{where} must be an object with a role", param="messages")
    content = message.get("content")
    if content is None:
        return b""
    if isinstance(content, str):
        return content.encode()
    texts: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            raise ApiError(f"{where}.content must be a string or a list of text parts", param="messages")
        texts.append(text)
    return "".join(texts).encode()


def _prompt(body: dict[str, Any]) -> bytes | list[int]:
    """One prompt: text, token ids, or a list that holds one of either."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt.encode()
    if isinstance(prompt, list) and prompt and all(type(token) is int and token >= 0 for token in prompt):
        return prompt
    raise ApiError("prompt must be one string, a list of one string, or a list of token ids", param="prompt")


def _remote(params: dict[str, Any]) -> Remote | None:
    """None if this is no decode leg, or an incomplete one: vLLM then prefills here, and so do we."""
    engine_id, request_id = params.get("remote_engine_id"), params.get("remote_request_id")
    host, port = params.get("remote_host"), params.get("remote_port")
    if params.get("do_remote_prefill") is not True or not params.get("remote_block_ids"):
        return None
    if not (isinstance(engine_id, str) and isinstance(request_id, str) and isinstance(host, str)):
        return None
    return Remote(engine_id, request_id, host, port) if type(port) is int else None
