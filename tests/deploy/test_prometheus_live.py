"""A real Prometheus with the shipped rules watches a real demo."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from router.config import load
from router.layout import layout
from tests.support.prometheus import prometheus

CONSOLE_SCRIPT = Path(sys.executable).with_name("tokenyard")
FLEET = Path(__file__).parents[2] / "loadgen" / "data" / "demo.yaml"
START_S = 60.0
WATCHED = "traffic_class_slo:.*|tokenyard:spend:.*"


@asynccontextmanager
async def demo() -> AsyncIterator[str]:
    """`tokenyard demo` on free ports; yields its operator listener as "host:port", and asks it to end afterwards."""
    process = await asyncio.create_subprocess_exec(
        CONSOLE_SCRIPT,
        "demo",
        "--port",
        "0",
        "--operator-port",
        "0",
        "--duration",
        "20",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            first = (await process.stdout.readline()).decode()
        operator = re.search(r"operator on http://(\S+?),", first)
        assert operator, first
        drain = asyncio.create_task(process.stdout.read())
        yield operator[1]
        process.terminate()
        await drain
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's `prometheus` is not installed")
async def test_the_shipped_rules_compute_attainment_and_spend_of_the_demo(tmp_path: Path) -> None:
    async with demo() as operator, prometheus(tmp_path, operator, WATCHED) as server:
        attained = await server.first(
            'traffic_class_slo:tokenyard_slo_attained:ratio_rate5m{slo="all"} >= 0', within_s=60
        )
        assert {labels["traffic_class"] for labels, _ in attained} <= set(load(FLEET).classes)
        assert all(0 <= ratio <= 1 for _, ratio in attained)
        [(_, usd_per_hour)] = await server.first("tokenyard:spend:usd_per_hour", within_s=60)
        rent = sum(worker.pool.usd_per_s for worker in layout(load(FLEET)).workers) * 3600
        assert usd_per_hour == pytest.approx(rent)
        rules = [rule for group in (await server.api("rules"))["groups"] for rule in group["rules"]]
        assert len(rules) == 26
        assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
