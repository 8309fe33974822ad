"""The rival's replay gets the same requests as ours, and a missing rival is told as such."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def rivals() -> ModuleType:
    """The script as a module; `bench` is not installed."""
    spec = spec_from_file_location("replay_rivals", ROOT / "bench" / "replay_rivals.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_trace_of_ours_becomes_one_of_mooncakes(tmp_path: Path) -> None:
    ours = tmp_path / "ours.csv"
    ours.write_text("arrival_s,input_tokens,output_tokens,hash_ids\n0,600,5,7 8\n1.5,512,9,7\n")
    made = rivals().mooncake(ours, tmp_path)
    lines = [json.loads(line) for line in made.read_text().splitlines()]
    assert [(line["timestamp"], line["input_length"], line["output_length"]) for line in lines] == [
        (0, 600, 5),
        (1500, 512, 9),
    ]
    assert lines[0]["hash_ids"][0] == lines[1]["hash_ids"][0] != lines[0]["hash_ids"][1]


def test_a_trace_of_mooncakes_is_replayed_as_it_is(tmp_path: Path) -> None:
    assert rivals().mooncake(tmp_path / "theirs.jsonl", tmp_path) == tmp_path / "theirs.jsonl"


def test_an_interpreter_without_the_rival_is_told_what_to_install() -> None:
    shape = {"workers": 1, "router": "round_robin", "requests": 1, "input_tokens": 1, "output_tokens": 1}
    with pytest.raises(SystemExit, match="No module named 'dynamo'; pip install ai-dynamo-runtime"):
        rivals().dynamo_replay(sys.executable, shape)
