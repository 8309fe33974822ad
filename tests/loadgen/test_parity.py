"""The same fleet file and the same requests, live over HTTP and in virtual time. `bench/parity.py` compares seconds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TOKENYARD = [sys.executable, "-P", "-c", "from loadgen.cli import main; main()"]

FLEET = """\
listen: {port: 0}
operator: {port: 0}
models: [{name: llama-3.1-70b}]
classes: {chat: {ttft_s: 5, tpot_s: 0.05}, fast: {ttft_s: 5, tpot_s: 0.012}}
pools:
  - {name: prefill, device: h100-sxm, tp: 4, model: llama-3.1-70b, precision: fp8, phases: [prefill], simulate: 1}
  - {name: decode, device: h100-sxm, tp: 4, model: llama-3.1-70b, precision: fp8, phases: [decode], simulate: 1}
  - {name: whole, device: h200-sxm, tp: 4, model: llama-3.1-70b, precision: fp8, simulate: 1}
links:
  - {from: prefill, to: decode, gbytes_per_s: 50, latency_s: 0.0005, kv: {connector: nixl, dtype: fp16}}
policy: {name: round-robin}
"""
LOAD = ["--rate", "3", "--duration", "8", "--input", "6000:0.2", "--output", "60:0.3", "--seed", "4"]
LOAD += ["--classes", "chat:0.5,fast:0.5"]


def report(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*TOKENYARD, *arguments, "--json", "-"], capture_output=True, text=True, timeout=90, check=True
    )
    run: dict[str, Any] = json.loads(done.stdout)["runs"][0]
    return run


def test_a_live_run_places_as_many_requests_on_each_pool_as_its_simulation(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    gateway = subprocess.Popen([*TOKENYARD, "serve", "--config", str(fleet)], stdout=subprocess.PIPE, text=True)
    try:
        assert gateway.stdout is not None
        url = gateway.stdout.readline().split()[2].rstrip(",")
        live = report("loadtest", url, "--config", str(fleet), "--simulated", *LOAD)
    finally:
        gateway.terminate()
        gateway.communicate(timeout=60)
    model = report("simulate", "--config", str(fleet), *LOAD)
    assert live["completed"] == model["completed"] == model["requests"] > 10
    for pool, line in model["by_pool"].items():
        for count in ("prefill_requests", "decode_requests", "taken_over", "prompt_tokens", "output_tokens"):
            assert live["by_pool"][pool][count] == line[count]
