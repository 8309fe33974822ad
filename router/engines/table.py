"""The engines a pool can name in its configuration."""

from __future__ import annotations

from router.engines.api import Engine
from router.engines.openai import OpenAi
from router.engines.vllm import Vllm

ENGINES: dict[str, Engine] = {"openai": OpenAi(), "vllm": Vllm()}
