"""The way to the workers: a pool of connections per origin, without redirects, decompression or a limit of its own."""

from __future__ import annotations

import asyncio
import re
import ssl as tls
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from router.errors import ShuttingDown, UpstreamConnectFailed, UpstreamReset, UpstreamTimeout
from router.upstream_connection import Connection, Shelf
from router.upstream_response import UpstreamResponse

__all__ = ["Upstream", "UpstreamResponse"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that frame the message: never the caller's to set."""

_TLS_GOODBYE_S = 1.0
"""A mute peer must not hold up a close for asyncio's own 30 s."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a worker listens. `base` is put before every path (`https://host/openai`)."""

    host: str
    port: int
    authority: str
    base: str
    secure: bool
    shelf: Shelf


class Upstream:
    """HTTP/1.1 client for workers.

    Attributes:
        connections_opened, connections_reused: since the start.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 1.0,
        idle_timeout_s: float = 30.0,
        keep_alive_s: float = 4.0,
        ssl: tls.SSLContext | None = None,
    ) -> None:
        self.connections_opened = 0
        self.connections_reused = 0
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._keep_alive_s = keep_alive_s
        self._ssl = ssl
        self._origins: dict[str, Origin] = {}
        self._closed = False

    @property
    def connections_in_use(self) -> int:
        """Connections with a request on them."""
        return sum(connection.busy for origin in self._origins.values() for connection in origin.shelf.all)

    async def request(
        self,
        url_origin: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        head_timeout_s: float | None,
        idle_timeout_s: float | None = None,
        cancelled: Callable[[UpstreamResponse], None] | None = None,
    ) -> UpstreamResponse:
        """Send a request and wait for the head of its answer; None as `head_timeout_s` waits for ever.

        `idle_timeout_s` is the longest silence inside the body, the client's default if None. Raises `UpstreamError`s
        that say by `before_response` whether anything came back, and ValueError for a header, path or origin that
        must not be sent. A pooled connection that turns out to be closed is replaced once, silently.
        Cancelled before the head, the connection is aborted, or where `cancelled` is given the response handed to it.
        """
        origin = self._origin(url_origin)
        message = _message(origin, method, path, headers, body)
        idle_s = self._idle_timeout_s if idle_timeout_s is None else idle_timeout_s
        if self._closed:
            raise ShuttingDown
        connection = origin.shelf.take(asyncio.get_running_loop().time())
        if connection is not None:
            self.connections_reused += 1
            try:
                return await _exchange(connection, message, method, head_timeout_s, idle_s, cancelled)
            except UpstreamReset:
                pass  # its server had closed it while it was idle; no byte came back, so a fresh one may ask again
        connection = await self._connect(origin)
        return await _exchange(connection, message, method, head_timeout_s, idle_s, cancelled)

    def give_up(self, url_origin: str, silent_s: float) -> None:
        """End the requests that a frozen server has not answered with a byte for so long; another may take them."""
        before_s = asyncio.get_running_loop().time() - silent_s
        for connection in list(self._origin(url_origin).shelf.all):
            if connection.busy and connection.heard_s < before_s and not connection.reading_paused:
                connection.fail(UpstreamTimeout(detail=f"frozen: silent for {silent_s:g} s, its health check too"))

    async def close(self) -> None:
        """Close idle connections and abort those in use; requests made later are refused."""
        self._closed = True
        connections: list[Connection] = []
        for origin in self._origins.values():
            origin.shelf.open = False
            connections += origin.shelf.all
        for connection in connections:
            connection.fail(ShuttingDown())
        for connection in connections:
            await connection.lost.wait()

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, origin.shelf)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await loop.create_connection(
                    lambda: connection,
                    origin.host,
                    origin.port,
                    ssl=self._context() if origin.secure else None,
                    server_hostname=origin.host if origin.secure else None,
                    ssl_shutdown_timeout=_TLS_GOODBYE_S if origin.secure else None,
                )
        except TimeoutError:
            connection.fail(UpstreamConnectFailed())
            detail = f"{origin.authority}: no connection within {self._connect_timeout_s:g} s"
            raise UpstreamConnectFailed(detail=detail) from None
        except OSError as error:
            connection.fail(UpstreamConnectFailed())
            raise UpstreamConnectFailed(detail=f"{origin.authority}: {error}") from error
        except BaseException:
            connection.fail(UpstreamConnectFailed())
            raise
        if self._closed:
            connection.fail(ShuttingDown())
            raise ShuttingDown
        self.connections_opened += 1
        return connection

    def _context(self) -> tls.SSLContext:
        if self._ssl is None:
            self._ssl = tls.create_default_context()
        return self._ssl

    def _origin(self, url: str) -> Origin:
        origin = self._origins.get(url)
        if origin is None:
            origin = self._origins[url] = _parsed(url, Shelf(self._keep_alive_s))
        return origin


async def _exchange(
    connection: Connection,
    message: bytes,
    method: str,
    head_timeout_s: float | None,
    idle_timeout_s: float,
    cancelled: Callable[[UpstreamResponse], None] | None,
) -> UpstreamResponse:
    response = connection.send(message, head_only=method == "HEAD", idle_timeout_s=idle_timeout_s)
    try:
        await response.head(head_timeout_s)
    except asyncio.CancelledError:
        if cancelled is None:
            response.abort()
        else:
            cancelled(response)
        raise
    except BaseException:
        response.abort()
        raise
    return response


def _message(origin: Origin, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The request as one buffer."""
    lines = [_first_lines(method, origin.base + path, origin.authority)]
    for name, value in headers.items():
        if _UNSAFE_VALUE.search(value):
            raise ValueError(f"header {name}: a control character, or one beyond Latin-1, in its value")
        lines += _checked_name(name), ": ", value, "\r\n"
    lines.append(f"content-length: {len(body)}\r\n\r\n" if body or method == "POST" else "\r\n")
    return "".join(lines).encode("latin-1") + body


@lru_cache(maxsize=4096)
def _first_lines(method: str, target: str, authority: str) -> str:
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError(f"not a request line: {method!r} {target!r}")
    return f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\naccept-encoding: identity\r\n"


@lru_cache(maxsize=1024)
def _checked_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    if name.lower() in _OURS:
        raise ValueError(f"header {name} frames the message and is not the caller's to set")
    return name


def _parsed(url: str, shelf: Shelf) -> Origin:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"worker address {url!r}: expected http://host:port or https://host:port")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"worker address {url!r}: credentials, query and fragment are not allowed")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = host if port == (443 if secure else 80) else f"{host}:{port}"
    if not re.fullmatch(r"[\x21-\x7e]+", authority):
        raise ValueError(f"worker address {url!r}: the host must be ASCII (punycode for other scripts)")
    return Origin(parts.hostname, port, authority, parts.path.rstrip("/"), secure, shelf)
