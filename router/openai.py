"""The OpenAI API as clients speak it: a body and headers become a `Request`, or a `BadRequest` says why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from policies.api import Request, Slo
from router import body as json_body
from router.body import Body
from router.errors import BadRequest, DeadlineExceeded, UnknownModel
from router.request_fields import MAX_FIELDS, messages_problem, problem, prompt_problem

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MODELS = "/v1/models"
_PROMPT = {CHAT: "messages", COMPLETIONS: "prompt"}

BYTES_PER_TOKEN = 4
"""Prompt estimate where no tokenizer is configured; OpenAI's rule of thumb for English text."""
MAX_MODEL_CHARS = 256
MAX_SESSION_CHARS = 256
MAX_PROMISE_MS = 86_400_000
"""One day."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A configured class of requests and what its promise is worth."""

    name: str
    slo: Slo = field(default_factory=Slo)
    usd_per_miss: float = 0.0
    min_bits: int = 0


DEFAULT_CLASS = TrafficClass("default")
"""Where a request names no class and none is configured under this name: nothing was promised."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A checked request: what the scheduler needs beside what the engine will be sent.

    Attributes:
        choices: answers the client is owed, each of which ends with a finish reason.
    """

    path: str
    request: Request
    body: Body
    stream: bool
    choices: int


class OpenAi:
    """Knows the configured models and classes; checks what clients send against them.

    `models` maps every name clients may use to the model's own; `context_tokens` gives the longest context any worker
    of a model offers.
    """

    def __init__(
        self, models: Mapping[str, str], classes: Iterable[TrafficClass], context_tokens: Mapping[str, int]
    ) -> None:
        self._models = dict(models)
        self._classes = {traffic_class.name: traffic_class for traffic_class in classes}
        self._context_tokens = dict(context_tokens)

    def inbound(self, path: str, raw: bytes, headers: Mapping[str, str], request_id: str, arrival_s: float) -> Inbound:
        """The request in `raw`; raises `RouterError` with what is wrong and where."""
        body = json_body.parse(raw)
        model = self._model(body.fields.get("model"))
        if len(body.fields) > MAX_FIELDS:
            raise BadRequest(f"The body has {len(body.fields)} fields; at most {MAX_FIELDS} are allowed.")
        if wrong := _wrong(path, body.fields):
            raise BadRequest(f"'{wrong[0]}' {wrong[1]}.", param=wrong[0])
        traffic_class = self._traffic_class(headers)
        prompts, prompt_tokens = _prompt(path, body.fields)
        choices = prompts * _integer(body.fields.get("n"), 1)
        max_tokens = _max_tokens(body.fields)
        self._check_context(model, prompt_tokens, max_tokens, _PROMPT[path])
        request = Request(
            id=request_id,
            model=model,
            prompt_tokens=prompt_tokens,
            arrival_s=arrival_s,
            max_tokens=max_tokens,
            slo=_slo(traffic_class, headers),
            traffic_class=traffic_class.name,
            session=_session(headers),
            usd_per_miss=traffic_class.usd_per_miss,
            min_bits=traffic_class.min_bits,
            splittable=choices == 1 and not body.fields.get("logprobs") and not _integer(body.fields.get("best_of"), 0),
        )
        return Inbound(path, request, _named(body, model), body.fields.get("stream") is True, choices)

    def models(self) -> bytes:
        """The answer to `GET /v1/models`: models and their aliases."""
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tokenyard"} for name in self._models]
        return orjson.dumps({"object": "list", "data": listed})

    def _model(self, asked: object) -> str:
        if not isinstance(asked, str) or not 0 < len(asked) <= MAX_MODEL_CHARS or not asked.isprintable():
            raise BadRequest("'model' must be the name of a model.", param="model")
        model = self._models.get(asked)
        if model is None:
            raise UnknownModel(f"The model '{asked}' does not exist here; try one of: {', '.join(self._models)}.")
        return model

    def _traffic_class(self, headers: Mapping[str, str]) -> TrafficClass:
        asked = headers.get("x-tokenyard-class")
        if asked is None:
            return self._classes.get(DEFAULT_CLASS.name, DEFAULT_CLASS)
        if found := self._classes.get(asked):
            return found
        known = ", ".join(self._classes) or "none are configured"
        raise BadRequest(f"The class in x-tokenyard-class is unknown; classes: {known}.", param="x-tokenyard-class")

    def _check_context(self, model: str, prompt_tokens: int, max_tokens: int | None, param: str) -> None:
        limit, wanted = self._context_tokens.get(model), prompt_tokens + (max_tokens or 1)
        if limit is not None and wanted > limit:
            raise BadRequest(
                f"This model's longest context is {limit} tokens; about {prompt_tokens} of prompt and "
                f"{max_tokens or 1} of output were asked for.",
                param=param,
                code="context_length_exceeded",
            )


def request_id(offered: str | None, fresh: str) -> str:
    """The client's own id if it is safe in logs and headers, else ours."""
    return offered if offered is not None and _REQUEST_ID.fullmatch(offered) else fresh


def _wrong(path: str, fields: Mapping[str, object]) -> tuple[str, str] | None:
    if path == CHAT:
        return messages_problem(fields.get("messages")) or problem(fields)
    if wrong := prompt_problem(fields.get("prompt")):
        return "prompt", wrong
    return problem(fields)


def _named(body: Body, model: str) -> Body:
    """The client's bytes as they came, unless it used an alias."""
    if body.fields["model"] == model:
        return body
    return json_body.parse(body.with_fields({"model": model}))


def _prompt(path: str, fields: Mapping[str, object]) -> tuple[int, int]:
    """How many prompts, and tokens in all of them."""
    if path == CHAT:
        return 1, _tokens(sum(map(_message_bytes, _list(fields["messages"]))))
    prompt = fields["prompt"]
    if isinstance(prompt, str):
        return 1, _tokens(_size(prompt))
    prompts = _list(prompt)
    if isinstance(prompts[0], int):
        return 1, len(prompts)
    return len(prompts), sum(len(item) if isinstance(item, list) else _tokens(_size(item)) for item in prompts)


def _message_bytes(message: Mapping[str, object]) -> int:
    content = message.get("content")
    if isinstance(content, str):
        return _size(content)
    return sum(_size(part["text"]) for part in _list(content) if part.get("type") == "text") if content else 0


def _tokens(size_bytes: int) -> int:
    return max(-(-size_bytes // BYTES_PER_TOKEN), 1)


def _size(text: str) -> int:
    """UTF-8 bytes; ASCII, which Python knows of a string, needs no encoding to be counted."""
    return len(text) if text.isascii() else len(text.encode())


def _max_tokens(fields: Mapping[str, object]) -> int | None:
    newer = fields.get("max_completion_tokens")
    value = newer if newer is not None else fields.get("max_tokens")
    return value if isinstance(value, int) else None


def _slo(traffic_class: TrafficClass, headers: Mapping[str, str]) -> Slo:
    """The class's promise, with what this request says of itself in its place."""
    own = traffic_class.slo
    ttft_s, tpot_s, e2e_s = (_seconds(headers, f"x-tokenyard-{name}-ms") for name in ("ttft", "tpot", "deadline"))
    if e2e_s == 0:
        raise DeadlineExceeded("x-tokenyard-deadline-ms is 0: there is no time left to answer.")
    if ttft_s is tpot_s is e2e_s is None:
        return own
    return Slo(
        own.ttft_s if ttft_s is None else ttft_s,
        own.tpot_s if tpot_s is None else tpot_s,
        own.e2e_s if e2e_s is None else e2e_s,
    )


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    text = headers.get(name)
    if text is None:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not (0 < value <= MAX_PROMISE_MS or (value == 0 and name == "x-tokenyard-deadline-ms")):
        raise BadRequest(f"'{name}' must be a number of milliseconds, at most {MAX_PROMISE_MS}.", param=name)
    return value / 1000


def _session(headers: Mapping[str, str]) -> str:
    session = headers.get("x-tokenyard-session", "")
    if len(session) > MAX_SESSION_CHARS or not (session.isascii() and session.isprintable()):
        raise BadRequest(
            f"'x-tokenyard-session' must be at most {MAX_SESSION_CHARS} printable ASCII characters.",
            param="x-tokenyard-session",
        )
    return session


def _integer(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _list(value: object) -> list:  # type: ignore[type-arg]  # JSON that `request_fields` has checked
    assert isinstance(value, list)
    return value
