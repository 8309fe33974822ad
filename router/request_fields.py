"""What the fields of an OpenAI request may hold. Refusing nonsense here keeps it from ever reaching a worker.

Ranges are those of the OpenAI API reference; the caps without one there (`MAX_*`) bound what one request may cost us.
Fields not named here pass to the engine untouched.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

MAX_FIELDS = 256
MAX_MESSAGES = 2048
MAX_CHOICES = 8
MAX_STOPS = 4
MAX_STOP_CHARS = 1024
MAX_TOOLS = 128
MAX_BIASES = 1024
MAX_TOKENS = 2**31 - 1
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PART_TYPES = ("text", "image_url", "input_audio", "video_url", "audio_url", "file", "refusal")
FORMATS = ("text", "json_object", "json_schema")

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN_ID = re.compile(r"[0-9]{1,10}")

Problem = tuple[str, str]
"""(field, what is wrong with it)."""
Check = Callable[[object], str | None]
"""Says what is wrong with a value, None if nothing is."""


def problem(fields: Mapping[str, object]) -> Problem | None:
    """The first thing wrong with fields both endpoints share; null means "not set" everywhere."""
    for name, check in _CHECKS.items():
        value = fields.get(name)
        if value is not None and (wrong := check(value)):
            return name, wrong
    return _across(fields)


def _across(fields: Mapping[str, object]) -> Problem | None:
    if fields.get("stream_options") is not None and not fields.get("stream"):
        return "stream_options", "is only allowed when stream is true"
    best_of, choices = fields.get("best_of"), fields.get("n") or 1
    if isinstance(best_of, int) and isinstance(choices, int) and best_of < choices:
        return "best_of", f"must be at least n ({choices})"
    return None


def messages_problem(messages: object) -> Problem | None:
    """What is wrong with the messages of a chat."""
    if not isinstance(messages, list) or not messages:
        return "messages", "must be a non-empty array"
    if len(messages) > MAX_MESSAGES:
        return "messages", f"has {len(messages)} entries; at most {MAX_MESSAGES} are allowed"
    for index, message in enumerate(messages):
        if wrong := _message(message):
            return f"messages[{index}]{wrong[0]}", wrong[1]
    return None


def _message(message: object) -> Problem | None:
    if not isinstance(message, dict):
        return "", "must be an object"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return ".role", f"must be one of {', '.join(ROLES)}"
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        return ".tool_call_id", "must be a string in a tool message"
    if isinstance(content, str) or (content is None and role == "assistant"):
        return None
    if not isinstance(content, list) or not content:
        return ".content", "must be a string or a non-empty array of parts"
    for index, part in enumerate(content):
        if wrong := _part(part):
            return f".content[{index}]", wrong
    return None


def _part(part: object) -> str | None:
    if not isinstance(part, dict) or part.get("type") not in PART_TYPES:
        return f"must be an object whose type is one of {', '.join(PART_TYPES)}"
    kind = part["type"]
    if kind == "text" and not isinstance(part.get("text"), str):
        return "must carry its text as a string"
    if kind.endswith("_url"):
        media = part.get(kind)
        url = media.get("url") if isinstance(media, dict) else None
        return _url(url) if isinstance(url, str) else f"must carry {kind}.url as a string"
    return None


def _url(url: str) -> str | None:
    """An engine fetches this from inside its network, so only public names and inline data are let through."""
    if url.startswith("data:"):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "is not a valid URL"
    if parts.scheme not in ("http", "https") or not host:
        return "must be a http, https or data URL"
    if "\\" in url or "@" in parts.netloc or any(ord(char) < 0x21 for char in url):
        return "must not hold credentials, backslashes or control characters"
    return _host(host)


def _host(host: str) -> str | None:
    if host == "localhost" or host.endswith((".localhost", ".internal", ".local")):
        return "must name a public host"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name; but forms such as 2130706433 or 0x7f.1 are addresses to many resolvers
        last = host.rsplit(".", 1)[-1]
        return "must name a public host" if last.isdigit() or last.startswith("0x") else None
    return None if address.is_global else "must name a public host"


def prompt_problem(prompt: object) -> str | None:
    """What is wrong with the prompt of a completion: text, token ids, or a list of either."""
    if isinstance(prompt, str):
        return None if prompt else "must not be empty"
    if not isinstance(prompt, list) or not prompt:
        return "must be a non-empty string or array"
    if all(isinstance(item, str) and item for item in prompt):
        return None if len(prompt) <= MAX_CHOICES else f"has {len(prompt)} prompts; at most {MAX_CHOICES} are allowed"
    if _token_ids(prompt):
        return None
    if all(isinstance(item, list) and item and _token_ids(item) for item in prompt):
        return None if len(prompt) <= MAX_CHOICES else f"has {len(prompt)} prompts; at most {MAX_CHOICES} are allowed"
    return "must hold non-empty strings, or token ids, and not both"


def _token_ids(items: list[object]) -> bool:
    return all(type(item) is int and 0 <= item < 2**31 for item in items)


def _boolean(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else "must be a string"


def _integer(least: int, most: int) -> Check:
    def check(value: object) -> str | None:
        return None if type(value) is int and least <= value <= most else f"must be an integer from {least} to {most}"

    return check


def _number(least: float, most: float) -> Check:
    def check(value: object) -> str | None:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        return None if fits else f"must be a number from {least:g} to {most:g}"

    return check


def _top_p(value: object) -> str | None:
    return _number(0, 1)(value) or (None if value else "must be greater than 0")


def _stop(value: object) -> str | None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        return f"must be a string or an array of at most {MAX_STOPS} strings"
    if not all(isinstance(stop, str) and 0 < len(stop) <= MAX_STOP_CHARS for stop in stops):
        return f"must hold non-empty strings of at most {MAX_STOP_CHARS} characters"
    return None


def _logprobs(value: object) -> str | None:
    """True or false in a chat, a count in a completion."""
    return None if isinstance(value, bool) else _integer(0, 20)(value)


def _logit_bias(value: object) -> str | None:
    if not isinstance(value, dict) or len(value) > MAX_BIASES:
        return f"must be an object of at most {MAX_BIASES} entries"
    if not all(_TOKEN_ID.fullmatch(token) for token in value):
        return "must map token ids"
    return next((wrong for bias in value.values() if (wrong := _number(-100, 100)(bias))), None)


def _stream_options(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    return None if isinstance(value.get("include_usage", False), bool) else "include_usage must be true or false"


def _response_format(value: object) -> str | None:
    if not isinstance(value, dict) or value.get("type") not in FORMATS:
        return f"must be an object whose type is one of {', '.join(FORMATS)}"
    if value["type"] != "json_schema":
        return None
    spec = value.get("json_schema")
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str) or not isinstance(spec.get("schema"), dict):
        return "json_schema must be an object with a name and a schema"
    return None


def _tools(value: object) -> str | None:
    if not isinstance(value, list) or len(value) > MAX_TOOLS:
        return f"must be an array of at most {MAX_TOOLS} tools"
    names = [_tool_name(tool) for tool in value]
    if not all(isinstance(name, str) and _TOOL_NAME.fullmatch(name) for name in names):
        return "must hold functions named with 1 to 64 letters, digits, _ or -"
    return None if len(set(names)) == len(names) else "names a function twice"


def _tool_name(tool: object) -> object:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return function.get("name") if isinstance(function, dict) else None


_CHECKS: dict[str, Check] = {
    "stream": _boolean,
    "stream_options": _stream_options,
    "n": _integer(1, MAX_CHOICES),
    "best_of": _integer(1, MAX_CHOICES),
    "max_tokens": _integer(1, MAX_TOKENS),
    "max_completion_tokens": _integer(1, MAX_TOKENS),
    "temperature": _number(0, 2),
    "top_p": _top_p,
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "stop": _stop,
    "seed": _integer(-(2**63), 2**63 - 1),
    "logprobs": _logprobs,
    "top_logprobs": _integer(0, 20),
    "logit_bias": _logit_bias,
    "response_format": _response_format,
    "tools": _tools,
    "echo": _boolean,
    "suffix": _text,
    "user": _text,
}
