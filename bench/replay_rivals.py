"""A rival's simulator on the shapes of our benchmarks, by CPU time: Dynamo's offline replay.

    python -m venv rival && rival/bin/pip install ai-dynamo-runtime==1.6.1
    python bench/replay_rivals.py --dynamo-python rival/bin/python --requests 100000 --workers 64
    python bench/replay_rivals.py --dynamo-python rival/bin/python --workers 64 --trace trace.csv.gz --router kv_router

Prints one JSON object: requests and tokens per CPU second, medians over `--runs`, each in a process of its own; only
the replay is timed, not the import or the reading of arguments. A trace is one of ours, or a Mooncake file (.jsonl).
Synthetic requests arrive as a Poisson process at `--rate`, or all at once without it.

This file runs on two interpreters, ours and the rival's, so above `main` it imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Figures = dict[str, Any]

BLOCK_TOKENS = 512
"""Of Mooncake's traces: tokens behind one of their ids."""
TIMEOUT_S = 600.0
INSIDE = "--inside"


def dynamo_replay(python: str, shape: Mapping[str, Any], runs: int = 1) -> Figures:
    """Dynamo's replay of a shape on the interpreter that has it; raises `SystemExit` where that fails.

    Args:
        shape: `workers`, `router` ("round_robin" or "kv_router"), `kv_tokens` of one worker; and either `trace`, or
            `requests`, `input_tokens`, `output_tokens` and `rate_per_s` (None: all at once).
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = dict(shape)
        if asked.get("trace"):
            asked["trace"] = str(mooncake(Path(asked["trace"]), Path(folder)))
        found = [_one(python, asked) for _ in range(runs)]
    cpu_s = statistics.median(run["cpu_s"] for run in found)
    last = found[-1]
    return {
        "simulator": f"ai-dynamo-runtime {last['version']} offline replay",
        "shape": {name: value for name, value in shape.items() if value is not None},
        "requests": last["requests"],
        "output_tokens": last["output_tokens"],
        "simulated_s": last["simulated_s"],
        "prefix_reused": last["prefix_reused"],
        "cpu_s": round(cpu_s, 4),
        "cpu_s_of_runs": [round(run["cpu_s"], 4) for run in found],
        "requests_per_cpu_s": round(last["requests"] / cpu_s, 1),
        "output_tokens_per_cpu_s": round(last["output_tokens"] / cpu_s, 1),
        "peak_mbytes": max(run["peak_mbytes"] for run in found),
    }


def mooncake(trace: Path, folder: Path) -> Path:
    """The trace in Mooncake's own format; as it is if that is what it is."""
    if trace.suffix == ".jsonl":
        return trace
    from loadgen.trace import rows  # only our interpreter has it

    made = folder / "trace.jsonl"
    with made.open("w") as out:
        for row in rows(trace):
            line = {
                "timestamp": round(row.arrival_s * 1000),
                "input_length": row.input_tokens,
                "output_length": row.output_tokens,
                "hash_ids": list(row.hash_ids),
            }
            out.write(json.dumps(line) + "\n")
    return made


def _one(python: str, shape: Mapping[str, Any]) -> Figures:
    """One replay in a fresh process; its log is off, for with it on the router writes a line for each decision."""
    environment = {**os.environ, "DYN_LOG": "error"}
    ran = subprocess.run(
        [python, __file__, INSIDE, json.dumps(shape)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if ran.returncode:
        why = ran.stderr.strip().splitlines()[-1:] or ["no message"]
        raise SystemExit(f"{python}: Dynamo's replay failed: {why[0]}; pip install ai-dynamo-runtime==1.6.1 there")
    found: Figures = json.loads(ran.stdout.splitlines()[-1])
    return found


def _inside(shape: Mapping[str, Any]) -> Figures:
    """On the rival's interpreter: replay, and say what it took."""
    from importlib.metadata import version

    from dynamo import _core  # type: ignore[import-not-found]

    engine: Figures = {"block_size": BLOCK_TOKENS if shape.get("trace") else 64}
    if shape.get("kv_tokens"):
        engine["num_gpu_blocks"] = shape["kv_tokens"] // engine["block_size"]
    common: Figures = {
        "extra_engine_args": {"engine": engine},
        "num_workers": shape["workers"],
        "router_mode": shape["router"],
        "capture_planner_details": False,
    }
    began_s = _cpu_s()
    if shape.get("trace"):
        result = _core.run_mocker_trace_replay([shape["trace"]], trace_block_size=BLOCK_TOKENS, **common)
    else:
        pace: Figures = {"request_rate": shape["rate_per_s"]} if shape.get("rate_per_s") else {"arrival_interval_ms": 0}
        sizes = (shape["input_tokens"], shape["output_tokens"], shape["requests"])
        result = _core.run_mocker_synthetic_trace_replay(*sizes, **pace, **common)
    cpu_s = _cpu_s() - began_s
    summary = result.summary
    if summary["completed_requests"] != summary["num_requests"]:
        raise SystemExit(f"only {summary['completed_requests']} of {summary['num_requests']} requests completed")
    return {
        "version": version("ai-dynamo-runtime"),
        "cpu_s": cpu_s,
        "requests": summary["completed_requests"],
        "output_tokens": summary["total_output_tokens"],
        "simulated_s": round(summary["duration_ms"] / 1000, 3),
        "prefix_reused": round(summary["prefix_cache_reused_ratio"], 4),
        "peak_mbytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _cpu_s() -> float:
    """Of this process, all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """0 when the rival ran."""
    if sys.argv[1:2] == [INSIDE]:
        print(json.dumps(_inside(json.loads(sys.argv[2]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dynamo-python", required=True, help="an interpreter with ai-dynamo-runtime installed")
    parser.add_argument("--trace", help="replay this instead of synthetic requests")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--input", type=int, default=512, dest="input_tokens", help="prompt tokens of each request")
    parser.add_argument("--output", type=int, default=256, dest="output_tokens", help="answer tokens of each request")
    parser.add_argument("--rate", type=float, dest="rate_per_s", help="requests per second; all at once without it")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--router", choices=["round_robin", "kv_router"], default="round_robin")
    parser.add_argument("--kv-tokens", type=int, help="KV tokens of each worker; Dynamo's own default without it")
    parser.add_argument("--runs", type=int, default=5)
    options = vars(parser.parse_args())
    python, runs = options.pop("dynamo_python"), options.pop("runs")
    if options["trace"]:
        options |= dict.fromkeys(("requests", "input_tokens", "output_tokens", "rate_per_s"))
    print(json.dumps(dynamo_replay(python, options, runs), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
