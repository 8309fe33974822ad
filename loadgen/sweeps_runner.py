"""Where the points of a sweep run: here one after another, on all cores, or on a Ray cluster. One interface."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from loadgen.finding import Finding, Misuse, mistakes
from loadgen.parent import die_with
from loadgen.sweeps import Point, Ran, Sweep

Runner = Callable[[Sweep, Sequence[Point]], Iterator[tuple[int, Ran]]]
"""Yields (number of the point, what it gave) as runs end. The first that fails ends all, by an exception naming it."""

_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why a point gave nothing. A value, for not every exception survives the way between processes."""

    text: str
    wrong_usage: bool = False
    bug: bool = False

    def exception(self, point: Point) -> Exception:
        kind = RuntimeError if self.bug else Misuse if self.wrong_usage else Finding
        return kind(f"{point}: {self.text}")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_turn(sweep: Sweep, points: Sequence[Point]) -> Iterator[tuple[int, Ran]]:
    """In this process."""
    for number, point in enumerate(points):
        yield number, _ran(_attempted(sweep, point), point)


def on_cores(jobs: int) -> Runner:
    """In `jobs` processes of their own."""

    def runner(sweep: Sweep, points: Sequence[Point]) -> Iterator[tuple[int, Ran]]:
        before = set(multiprocessing.active_children())
        # Spawned, not forked: the progress bar has a thread, and a fork would copy its locks as they are.
        pool = ProcessPoolExecutor(
            min(jobs, len(points)), multiprocessing.get_context("spawn"), _started, (os.getpid(),)
        )
        try:
            futures = {pool.submit(_attempted, sweep, point): number for number, point in enumerate(points)}
            for future in as_completed(futures):
                number = futures[future]
                yield number, _ran(_outcome(future, futures, points), points[number])
            pool.shutdown()
        except BaseException:  # Ctrl-C, a failed run, or a caller that wants no more: nobody waits for the rest
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise

    return runner


def on_ray(address: str) -> Runner:
    """On the Ray cluster at that address; `local` starts one here. Files must lie at the same paths on every node."""
    try:
        import ray
    except ImportError:
        raise Misuse("--ray: Ray is not installed; pip install 'tokenyard[ray]'") from None

    def runner(sweep: Sweep, points: Sequence[Point]) -> Iterator[tuple[int, Ran]]:
        _reached(address)
        try:
            ray.init(
                address=address,
                num_cpus=cores() if address == "local" else None,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise Finding(f"--ray {address}: {str(error).splitlines()[0]}") from None
        try:
            attempted = ray.remote(_attempted)
            running = {attempted.remote(sweep, point): number for number, point in enumerate(points)}
            while running:
                [done], _ = ray.wait(list(running))
                number = running.pop(done)
                yield number, _ran(ray.get(done), points[number])
        finally:
            ray.shutdown()

    return runner


def _reached(address: str) -> None:
    """Ray itself retries for minutes before it says that nobody answers."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise Finding(f"--ray {address}: {error}; is `ray start --head` running there?") from None


def _started(parent_pid: int) -> None:
    """Ctrl-C goes to the whole terminal; the parent hears it and ends its workers, which need not say so themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent_pid)


def _attempted(sweep: Sweep, point: Point) -> Ran | _Failed:
    try:
        return sweep.run(point)
    except Finding as error:
        return _Failed(str(error))
    except mistakes() as error:
        return _Failed(str(error), wrong_usage=True)
    except Exception:  # noqa: BLE001 - a bug: told with its traceback, raised again on the other side
        return _Failed(traceback.format_exc(), bug=True)


def _ran(outcome: Ran | _Failed, point: Point) -> Ran:
    if isinstance(outcome, _Failed):
        raise outcome.exception(point)
    return outcome


def _outcome(
    future: Future[Ran | _Failed], futures: dict[Future[Ran | _Failed], int], points: Sequence[Point]
) -> Ran | _Failed:
    try:
        return future.result()
    except BrokenProcessPool:
        lost = min(number for other, number in futures.items() if other.exception() is not None)
        raise Finding(
            f"{points[lost]}: its process or one beside it was killed, perhaps for want of memory; "
            "try fewer at a time with --jobs"
        ) from None
