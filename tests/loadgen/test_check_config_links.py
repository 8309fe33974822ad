"""`check-config` shows what a prompt takes on every link that may be used."""

import json
from pathlib import Path

import pytest

from loadgen.commands.check_config import check_config

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


def test_links_in_use_are_shown_with_time_and_money(capsys: pytest.CaptureFixture[str]) -> None:
    check_config(EXAMPLES / "fabric.yaml", as_json=True)
    links = {line["to"]: line for line in json.loads(capsys.readouterr().out)["links"]}
    assert set(links) == {"rack", "hall", "city"}
    assert links["hall"] == {
        "from": "prefill",
        "to": "hall",
        "gbytes_per_s": 133.333,
        "latency_ms": 0.503,
        "per_block_us": 30.4,
        "prompt_tokens": 8192,
        "mbytes": 2684.4,
        "ms": 36.2,
        "usd": 0,
    }
    assert links["city"]["usd"] == 0.05369


def test_a_fleet_without_links_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    check_config(EXAMPLES / "minimal.yaml")
    assert "Links in use" not in capsys.readouterr().out
    check_config(EXAMPLES / "fabric.yaml")
    assert "Links in use" in capsys.readouterr().out
