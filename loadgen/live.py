"""A load test from start to report: look at the endpoint, send, watch, sum up."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import aiohttp

from devices.worker import Worker
from loadgen.finding import Finding, Misuse
from loadgen.loadtest import LoadTest, root
from loadgen.report import Run
from loadgen.result import Result
from loadgen.trace import Row

REACH_S = 5.0
WATCH_S = 1.0
LATE_S = 0.1
"""Sending later than this is told: gaps of people and of bursts are not much longer."""


async def models(url: str, headers: Mapping[str, str]) -> list[str]:
    """Names the endpoint offers, none if it does not list any; raises `Finding` when it cannot be reached."""
    timeout = aiohttp.ClientTimeout(total=REACH_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(f"{root(url)}/v1/models") as response,
        ):
            listed = await response.json(content_type=None) if response.status == 200 else {}
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise Misuse(f"{url or 'URL'}: not a http or https URL; expected one such as http://127.0.0.1:8080") from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Finding(f"{url}: cannot be reached ({_why(error)}); is the gateway running?") from None
    except ValueError:
        return []
    data = listed.get("data") if isinstance(listed, dict) else None
    return [str(entry["id"]) for entry in data or () if isinstance(entry, dict) and "id" in entry]


def _why(error: Exception) -> str:
    """The system's own words, without those of the library between."""
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None) or 0
    if number > 0:  # those of name resolution are below, and have a text
        return os.strerror(number)
    return getattr(cause, "strerror", None) or str(error) or "no answer"


async def tested(
    test: LoadTest, rows: Iterable[Row], policy: str, workers: Sequence[Worker], offered_s: float | None
) -> Run:
    """Run the test, watched on a terminal; the run to report."""
    began_s = time.process_time()
    watcher = asyncio.create_task(_watch(test, lambda line: sys.stderr.write(line)))
    try:
        await test.run(rows)
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    return run(test, policy, workers, offered_s, time.process_time() - began_s)


def run(test: LoadTest, policy: str, workers: Sequence[Worker], offered_s: float | None, cpu_s: float) -> Run:
    """What a test that is over comes to; `cpu_s` is that of the sender, whatever else runs in its process included."""
    last_s = max((result.arrival_s for result in test.results), default=0.0)
    return Run(
        policy=policy,
        results=test.results,
        gaps=test.gaps,
        offered_s=last_s if offered_s is None else offered_s,
        duration_s=test.duration_s,
        workers=workers,
        cpu_s=cpu_s,
    )


async def _watch(test: LoadTest, write: Callable[[str], object]) -> None:
    """One line, written over, while someone looks on."""
    while sys.stderr.isatty():
        done = len(test.results)
        bad = sum(not result.completed for result in test.results)
        write(f"\r{test.sent} sent, {test.in_flight} in flight, {done} ended, {bad} not completed \x1b[K")
        await asyncio.sleep(WATCH_S)


def remarks(test: LoadTest) -> list[str]:
    """What a reader of the report must know: why requests failed, and whether the sender kept up."""
    reasons = Counter(result.message for result in test.results if result.message)
    told = [f"{count} x {reason}" for reason, count in reasons.most_common(3)]
    if test.late_s > LATE_S:
        told.append(
            f"requests left up to {test.late_s:.2f} s late: this machine is too slow for the load, and the delay counts"
        )
    return told


def check_completed(results: Sequence[Result]) -> None:
    """Raises `Finding` when nothing was completed."""
    if not any(result.completed for result in results):
        first = next((result.message for result in results if result.message), "no request was sent")
        raise Finding(f"none of {len(results)} requests completed; the first said: {first}")
