"""Real processes: the demo, the gateway with embedded workers, and that no worker outlives them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from loadgen.embedded import embedded
from loadgen.finding import Finding
from policies.cost_slo import CostSlo
from router.config import load
from router.fleet import Fleet
from router.journal import replay
from router.layout import layout
from router.scheduler import Scheduler

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TRACE = str(ROOT / "loadgen" / "data" / "azure2023_conv_10min.csv.gz")
TOKENYARD = [sys.executable, "-P", "-c", "from loadgen.cli import main; main()"]
FREE = ["--port", "0", "--operator-port", "0"]
TIMEOUT_S = 60

FLEET = """\
listen: {port: 0}
operator: {port: 0}
models: [{name: llama-3.1-8b, aliases: [default]}]
pools:
  - {name: gpu, device: h100-sxm, model: llama-3.1-8b, simulate: 2}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def ran(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TOKENYARD, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=os.environ | environment,
        check=False,
    )


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that keeps running, and its first line."""
    process = subprocess.Popen([*TOKENYARD, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        process.stdout.close()


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_S)
    assert not alive


def test_the_demo_replays_the_trace_and_splits_part_of_the_requests(tmp_path: Path) -> None:
    report = tmp_path / "demo.json"
    done = ran("demo", "--once", "--duration", "6", "--rate-scale", "2", *FREE, "--json", str(report))
    assert done.returncode == 0, done.stderr
    [run] = json.loads(report.read_text())["runs"]
    assert run["completed"] == run["requests"] > 0
    assert 0 < run["by_pool"]["mi355x"]["taken_over"] < run["requests"]
    assert run["by_pool"]["lpu"]["decode_requests"] > 0
    assert run["by_pool"]["tpu"]["decode_requests"] > 0
    assert run["usd"]["rent"] > 0
    assert "Pools" in done.stdout


def test_the_demo_serves_on_until_ctrl_c_and_takes_its_workers_with_it(fleet: Path) -> None:
    with running("demo", "--duration", "0.5", "--config", str(fleet)) as (process, first):
        assert process.stdout is not None
        assert "gateway on http://127.0.0.1:" in first
        curl = next(line for line in process.stdout if line.strip().startswith("curl "))
        assert "/v1/chat/completions" in curl
        workers = children(process)
        assert len(workers) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
    assert_gone(workers)


def test_serve_starts_embedded_workers_answers_and_writes_its_journal(fleet: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with running("serve", "--config", str(fleet), "--journal", str(journal), "--drain", "1") as (process, first):
        url = first.split()[2].rstrip(",")
        body = json.dumps({"model": "default", "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]})
        ask = urllib.request.Request(f"{url}/v1/chat/completions", body.encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(ask, timeout=TIMEOUT_S) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] == 3
        asked = ("--rate", "20", "--duration", "1", "--output", "8", "--simulated", "--header", "x-key: s3cret")
        tested = ran("loadtest", url, *asked, "--json", "-", "--html", str(tmp_path / "page.html"))
        [run] = json.loads(tested.stdout)["runs"]
        assert run["completed"] == run["requests"] > 0
        assert list(run["by_pool"]) == ["gpu"]
        page = (tmp_path / "page.html").read_text()
        assert f"tokenyard loadtest {url} --rate 20 --output 8" in page
        assert "s3cret" not in page
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
    lines = journal.read_bytes().splitlines()
    assert sum(json.loads(line)["event"] == "submit" for line in lines) == run["requests"] + 1
    laid_out = layout(load(fleet))
    decisions, differences = replay(Scheduler(Fleet(laid_out.workers, laid_out.links), CostSlo()), lines)
    assert decisions == run["requests"] + 1
    assert differences == []


def test_workers_end_when_their_gateway_is_killed(fleet: Path) -> None:
    with running("serve", "--config", str(fleet)) as (process, _):
        workers = children(process)
        assert len(workers) == 2
        process.kill()
        process.wait(TIMEOUT_S)
        assert_gone(workers)


async def test_embedded_workers_are_known_by_pool_and_end_with_the_block(fleet: Path) -> None:
    async with embedded(fleet, load(fleet)) as urls:
        assert [len(found) for found in urls.values()] == [2]
        workers = psutil.Process().children(recursive=True)
        assert len(workers) == 2
    assert_gone(workers)


async def test_embedded_workers_end_when_the_block_is_cancelled(fleet: Path) -> None:
    started = asyncio.Event()

    async def hold() -> None:
        async with embedded(fleet, load(fleet)):
            started.set()
            await asyncio.Event().wait()

    task, waiting = asyncio.create_task(hold()), asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert started.is_set(), task.exception()
    workers = psutil.Process().children(recursive=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert_gone(workers)


async def test_a_worker_that_does_not_start_is_a_finding(fleet: Path, tmp_path: Path) -> None:
    config = load(fleet)
    fleet = tmp_path / "none.yaml"
    with pytest.raises(Finding, match="ended before it was ready"):
        async with embedded(fleet, config):
            pass


def test_a_report_is_the_same_bytes_whatever_pythons_hash_seed() -> None:
    hetero = str(ROOT / "deploy" / "examples" / "hetero.yaml")
    arguments = ["simulate", "--config", hetero, "--trace", TRACE, "--duration", "20", "--rate-scale", "3"]
    arguments += ["--policy", "cost-slo,random,power-of-two", "--classes", "chat:0.6,agent:0.3,batch:0.1"]
    outputs = [ran(*arguments, "--no-timing", "--json", "-", PYTHONHASHSEED=seed).stdout for seed in ("0", "1", "77")]
    assert outputs[0] == outputs[1] == outputs[2]
    assert json.loads(outputs[0])["runs"][0]["requests"] > 100


def test_a_file_named_like_a_package_does_no_harm_to_the_workers(fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "devices.py").write_text("raise SystemExit('the wrong devices')")
    process = subprocess.run(
        [*TOKENYARD, "demo", "--once", "--duration", "0.5", "--config", str(fleet)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert process.returncode == 0, process.stderr
