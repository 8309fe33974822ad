"""Engines of the stacks the articles name, each by its own name in a fleet file."""

from seed_checks.fleets import MODEL, config
from seed_checks.key import Checks


def modular_max_is_an_engine() -> None:
    _accepted("max", "h100-sxm")


def chinese_stacks_are_engines() -> None:
    _accepted("vllm-ascend", "ascend-910c")
    _accepted("mindie", "ascend-910c")
    _accepted("vllm-musa", "mtt-s5000")
    _accepted("vllm-biren", "mtt-s5000")
    _accepted("vllm-dcu", "mtt-s5000")


CHECKS: Checks = {
    ("002", "Modular MAX", "role"): modular_max_is_an_engine,
    ("003", "Chinese stacks", "fragmentation"): chinese_stacks_are_engines,
}


def _accepted(engine: str, device: str) -> None:
    precision = MODEL if device != "ascend-910c" else "model: llama-3.1-70b, precision: bf16"
    config(f'name: a, device: {device}, tp: 8, {precision}, engine: {engine}, workers: ["http://a:1"]')
