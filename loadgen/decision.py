"""A decision as the operator API tells it, fetched and put into words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from loadgen.finding import Finding, Misuse

TIMEOUT_S = 5.0


def fetched(url: str, request_id: str, token: str = "") -> dict[str, Any]:
    """The record of one request; raises `Finding` when the listener or the request is not there."""
    if not _is_http(url):
        raise Misuse(f"{url}: expected a http or https URL of an operator listener, such as http://127.0.0.1:8081")
    if not request_id:
        raise Misuse("no request id given; ids are in the header x-request-id of every answer")
    asked = Request(f"{url.rstrip('/')}/api/decisions/{quote(request_id, safe='')}")
    if token:
        asked.add_header("authorization", f"Bearer {token}")
    try:
        with urlopen(asked, timeout=TIMEOUT_S) as answer:
            found: dict[str, Any] = json.load(answer)
    except HTTPError as error:
        raise Finding(_refusal(url, request_id, error)) from None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise Finding(f"{url}: cannot reach the operator listener ({reason}); is the gateway running?") from None
    except ValueError:
        raise Finding(f"{url}: the answer is not JSON; is this the operator listener of Tokenyard?") from None
    return found


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refusal(url: str, request_id: str, error: HTTPError) -> str:
    with error:
        if error.code == HTTPStatus.NOT_FOUND:
            return (
                f"{url}: no request '{request_id}' among the last ones; ids are in the header x-request-id, "
                "and --url is the operator listener's"
            )
        if error.code == HTTPStatus.UNAUTHORIZED:
            return f"{url}: asks for the operator token; give --token or set TOKENYARD_OPERATOR_TOKEN"
        return f"{url}: answered {error.code}"


def told(found: Mapping[str, Any]) -> str:
    """A few lines a person can read; figures that are not there are left out."""
    lines = [
        f"request {found['id']}: {found['outcome'] or 'in flight'}"
        + (f" ({found['reason']})" if found["reason"] else "")
        + f", model {found['model']}, class {found['class'] or 'default'}, {found['attempts']} attempt(s)"
    ]
    if found["message"]:
        lines.append(f"  said to the client: {found['message']}")
    actual, placement = found["actual"], found["placement"]
    if placement is None:
        lines.append("  it was never placed")
    else:
        lines += _where(placement)
    quoted = placement["quote"] if placement else {}
    rows = [(name, quoted.get(name), actual.get(name)) for name in ("queue_s", "ttft_s", "tpot_s", "e2e_s", "usd")]
    lines.append(f"  {'':<8}{'predicted':>12}{'actual':>12}")
    lines += [f"  {name:<8}{_figure(predicted):>12}{_figure(seen):>12}" for name, predicted, seen in rows]
    lines.append(
        f"  tokens: {actual['prompt_tokens']} in ({actual['cached_tokens']} cached), {actual['output_tokens']} out"
    )
    return "\n".join(lines)


def _where(placement: Mapping[str, Any]) -> list[str]:
    if placement["prefill"] == placement["decode"]:
        return [f"  prefill and decode on {placement['decode']}"]
    quoted = placement["quote"]
    moved = f"{quoted['transfer_bytes'] / 1e6:,.1f} MB of KV in {quoted['transfer_s'] * 1e3:,.1f} ms (predicted)"
    return [f"  prefill on {placement['prefill']}, decode on {placement['decode']}, handing over {moved}"]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
