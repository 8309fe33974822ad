"""The operator's page: one table of workers, one of the newest requests. Plain HTML, renewed by the browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from urllib.parse import quote

_STYLE = (
    "body{font:15px system-ui;margin:2em}table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.2em 1.2em .2em 0;text-align:left;white-space:nowrap;border-bottom:1px solid #ccc}"
    "td{font-variant-numeric:tabular-nums}.bad{color:#a00}"
)
_WORKERS = ("name", "pool", "model", "phases", "routable", "requests", "decodes", "queued_prefill_tokens", "kv_tokens")
_REQUESTS = ("id", "class", "outcome", "prefill", "decode", "ttft s (quote)", "tpot s (quote)", "usd", "tokens in/out")


def page(fleet: Mapping[str, object], recent: Iterable[Mapping[str, object]]) -> str:
    """`fleet` as in `/api/fleet`, `recent` as in `/api/decisions`."""
    workers = fleet["workers"]
    assert isinstance(workers, list)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
        f"<title>Tokenyard</title><style>{_STYLE}</style></head><body><h1>Tokenyard</h1>"
        f"<p>{_text(fleet['in_flight'])} requests in flight, {_text(fleet['waiting'])} waiting.</p>"
        f"<h2>Workers</h2>{_table(_WORKERS, map(_worker, workers))}"
        f"<h2>Newest requests</h2>{_table(_REQUESTS, map(_request, recent))}"
        '<p><a href="/api/fleet">fleet</a> · <a href="/api/decisions">decisions</a> · <a href="/metrics">metrics</a>'
        ' · <a href="/debug/invariants">invariants</a></p></body></html>'
    )


def _worker(worker: Mapping[str, object]) -> list[str]:
    phases = worker["phases"]
    assert isinstance(phases, list)
    return [
        *(_text(worker[name]) for name in ("name", "pool", "model")),
        _text(", ".join(phases)),
        "yes" if worker["routable"] else '<span class="bad">no</span>',
        *(_text(worker[name]) for name in ("requests", "decodes", "queued_prefill_tokens")),
        f"{_text(worker['kv_tokens'])} of {_text(worker['kv_limit_tokens'])}",
    ]


def _request(request: Mapping[str, object]) -> list[str]:
    actual, placement = request["actual"], request["placement"] or {}
    assert isinstance(actual, dict)
    assert isinstance(placement, dict)
    quoted = placement.get("quote", {})
    return [
        _linked(str(request["id"])),
        _text(request["class"]),
        _outcome(request),
        _text(placement.get("prefill")),
        _text(placement.get("decode")),
        *(f"{_figure(actual[name])} ({_figure(quoted.get(name))})" for name in ("ttft_s", "tpot_s")),
        _figure(actual["usd"]),
        f"{_text(actual['prompt_tokens'])} / {_text(actual['output_tokens'])}",
    ]


def _linked(identity: str) -> str:
    """All that is known of a request is behind its id, of which some letters tell it from the others here."""
    return f'<a href="/api/decisions/{escape(quote(identity, safe=""))}">{_text(identity[:12])}</a>'


def _outcome(request: Mapping[str, object]) -> str:
    """In red, and with what the client was told under the pointer, where something was said."""
    words = _text(" ".join(str(word) for word in (request["outcome"], request["reason"]) if word))
    said = request["message"]
    return f'<span class="bad" title="{_text(said)}">{words}</span>' if said else words


def _table(heads: Iterable[str], rows: Iterable[list[str]]) -> str:
    head = "".join(f"<th>{_text(name.replace('_', ' '))}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "–"


def _text(value: object) -> str:
    return escape("–" if value is None else str(value))
