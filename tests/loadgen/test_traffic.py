from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.trace import Row
from loadgen.traffic import Traffic
from loadgen.workload import WorkloadError, mix
from policies.api import Request, Slo
from router.config import Config, load
from router.openai import TrafficClass

FLEET = """\
models:
  - {name: llama-3.1-8b, aliases: [default]}
  - {name: qwen3-32b}
classes:
  chat: {ttft_s: 1.0, tpot_s: 0.05, usd_per_miss: 0.002, min_precision: fp8}
  batch: {deadline_s: 600}
pools:
  - {name: gpu, device: h100-sxm, model: llama-3.1-8b, simulate: 1}
  - {name: big, device: h100-sxm, model: qwen3-32b, simulate: 1}
"""


def config(folder: Path, more: str = "") -> Config:
    path = folder / "fleet.yaml"
    path.write_text(FLEET + more)
    return load(path)


def test_a_row_becomes_what_the_gateway_would_make_of_its_prompt(tmp_path: Path) -> None:
    traffic = Traffic.of(config(tmp_path), classes="chat")
    request = traffic.request(Row(7, 1.5, 1000, 300, client="c1"))
    assert (request.model, request.prompt_tokens, request.max_tokens) == ("llama-3.1-8b", 1000, None)
    assert (request.traffic_class, request.slo) == ("chat", Slo(1.0, 0.05))
    assert (request.usd_per_miss, request.min_bits) == (0.002, 8)
    assert (request.arrival_s, request.session, request.id) == (1.5, "c1", "row-7")


def test_the_fleet_files_trace_section_is_the_default(tmp_path: Path) -> None:
    traffic = Traffic.of(config(tmp_path, "trace: {class: batch, model: qwen3-32b}\n"))
    request = traffic.request(Row(0, 0.0, 1, 1))
    assert (request.traffic_class, request.model, request.slo.e2e_s) == ("batch", "qwen3-32b", 600)
    assert Traffic.of(config(tmp_path, "trace: {class: batch}\n"), classes="chat").slo(Row(0, 0.0, 1, 1)).ttft_s == 1.0


def test_the_fleet_file_may_give_shares_of_classes_which_the_command_line_overrides(tmp_path: Path) -> None:
    shares = "trace: {classes: {chat: 3, batch: 1}}\n"
    traffic = Traffic.of(config(tmp_path, shares), seed=5)
    drawn = [traffic.traffic_class(Row(index, 0.0, 1, 1)).name for index in range(400)]
    assert 270 < drawn.count("chat") < 330
    assert drawn.count("chat") + drawn.count("batch") == 400
    assert Traffic.of(config(tmp_path, shares), classes="chat").traffic_class(Row(0, 0.0, 1, 1)).name == "chat"


def test_without_a_class_nothing_is_promised(tmp_path: Path) -> None:
    request = Traffic.of(config(tmp_path)).request(Row(0, 0.0, 1, 1))
    assert (request.traffic_class, request.slo) == ("default", Slo())


def test_aliases_are_resolved_and_strangers_refused(tmp_path: Path) -> None:
    assert Traffic.of(config(tmp_path), "default").model == "llama-3.1-8b"
    with pytest.raises(WorkloadError, match=r"unknown model 'qwen3'; did you mean 'qwen3-32b'"):
        Traffic.of(config(tmp_path), "qwen3")
    with pytest.raises(WorkloadError, match=r"class 'chatt' is not in the fleet file; did you mean 'chat'"):
        Traffic.of(config(tmp_path), classes="chatt")


def test_whole_blocks_of_a_prompt_are_its_prefix() -> None:
    traffic = Traffic("m")
    assert traffic.request(Row(0, 0.0, 1300, 1, (7, 8, 9))).prefix == (7, 8)
    assert traffic.request(Row(0, 0.0, 1024, 1, (7, 8))).prefix == (7, 8)
    assert traffic.request(Row(0, 0.0, 100, 1, (7,))).prefix == ()
    assert traffic.request(Row(0, 0.0, 1024, 1)).prefix == ()


def test_fields_given_by_position_land_where_their_names_say() -> None:
    row = Row(3, 2.0, 600, 9, (4, 5), "c")
    chat = TrafficClass("chat", Slo(1.0), 0.5, 8)
    made = Traffic("m", {"chat": chat}, mix("chat"), "acme").request(row)
    assert made == Request(
        id="row-3",
        model="m",
        prompt_tokens=600,
        arrival_s=2.0,
        slo=Slo(1.0),
        traffic_class="chat",
        tenant="acme",
        session="c",
        usd_per_miss=0.5,
        min_bits=8,
        prefix=(4,),
    )


def test_tenants_are_drawn_in_their_shares_and_a_client_keeps_its_own(tmp_path: Path) -> None:
    traffic = Traffic.of(config(tmp_path), tenants="a:0.7,b:0.3", seed=2)
    drawn = [traffic.request(Row(index, 0.0, 1, 1)).tenant for index in range(4000)]
    assert drawn.count("a") == pytest.approx(2800, rel=0.05)
    assert drawn.count("a") + drawn.count("b") == 4000
    clients = {traffic.request(Row(index, 0.0, 1, 1, client="c9")).tenant for index in range(50)}
    assert len(clients) == 1
    with pytest.raises(WorkloadError, match="tenants 'a:x'; expected NAME:SHARE"):
        Traffic.of(config(tmp_path), tenants="a:x")


def test_a_changed_set_of_classes_is_looked_up_anew() -> None:
    traffic = replace(Traffic("m"), classes={"default": TrafficClass("default", Slo(0.2))})
    assert traffic.request(Row(0, 0.0, 1, 1)).slo == Slo(0.2)
