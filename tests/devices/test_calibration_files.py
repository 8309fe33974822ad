"""Published timings as they come: every format, and every way to be wrong."""

import gzip
from pathlib import Path

import pytest

from devices.calibration.measured_files import FORMATS, MeasurementError, read
from devices.fits.measurements import (
    ApiCall,
    CollectiveTime,
    EndToEnd,
    EngineRun,
    Iteration,
    LayerTime,
    LoadSample,
    Measurement,
    Published,
    RequestTimes,
    ServerRun,
    Split,
)
from devices.profile import Precision

DATA = Path(__file__).parent / "data"
ITERATION = "device,model,phase,batch,tokens,context,tp,precision,engine,ms,kind,source"
LOOP = ",".join(sorted(next(f.columns for f in FORMATS if f.name == "closed-loop runs")))
LOOP_ROW = {
    "id": "x_tp8_0_ep1_3",
    "system": "h200_sxm",
    "model_path": "deepseek-ai/DeepSeek-R1",
    "backend": "vllm",
    "precision": "fp8",
    "mode": "agg",
    "isl": "1024",
    "osl": "512",
    "concurrency": "16.0",
    "tp_size": "8.0",
    "silicon_ttft_ms": "100",
    "silicon_tpot_ms": "10",
}


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def loop(tmp_path: Path, **changes: str) -> EndToEnd:
    cells = LOOP_ROW | changes
    [row] = read(written(tmp_path, LOOP, ",".join(cells.get(name, "") for name in LOOP.split(","))))
    assert isinstance(row, EndToEnd)
    return row


@pytest.mark.parametrize("name", ["iterations.csv", "closed_loops.csv", "requests.csv", "requests_runs.csv"])
def test_excerpts_of_published_files_are_read_whole(name: str) -> None:
    assert len(read(DATA / name)) == len((DATA / name).read_text().splitlines()) - 1


def test_gzip_makes_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "iterations.csv.gz"
    path.write_bytes(gzip.compress((DATA / "iterations.csv").read_bytes()))
    assert read(path) == read(DATA / "iterations.csv")


def test_a_prefill_a_decode_and_a_mixed_iteration(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ITERATION,
        "h100-80gb,llama2-70b,prefill,4,512,128,8,fp16,vllm-2023(splitwise),50,measured,s",
        "h100-80gb,llama2-70b,decode,32,1,576,8,fp16,vllm-2023(splitwise),30,measured,s",
        "RTX4090,meta-llama/Llama-3.1-8B,mixed,8,256,1024,1,bf16,vllm-0.19(llmservingsim),40,composed,s",
    )
    prefill, decode, mixed = (row for row in read(path) if isinstance(row, Iteration))
    assert (prefill.prompts, prefill.new_tokens, prefill.context_tokens, prefill.decodes) == (4, 512, 128, 0)
    assert (decode.decodes, decode.kv_tokens, decode.prompts, decode.new_tokens) == (32, 32 * 576, 0, 0)
    assert (mixed.decodes, mixed.kv_tokens, mixed.prompts, mixed.new_tokens) == (8, 8192, 1, 256)
    assert (mixed.setup.engine, mixed.setup.version) == ("vllm", "0.19 llmservingsim")
    assert mixed.setup.device.id == "rtx-4090"
    assert decode.seconds == pytest.approx(0.03)


def test_an_unrecorded_context_is_none(tmp_path: Path) -> None:
    [row] = read(written(tmp_path, ITERATION, "t4,llama1_30b,decode,4,1,-1,1,fp16,vllm-2024(helix),9,k,s"))
    assert isinstance(row, Iteration)
    assert row.kv_tokens == 0


def test_a_precision_left_to_the_engine_is_the_models_own(tmp_path: Path) -> None:
    assert loop(tmp_path, precision="").setup.precision is Precision.FP8
    assert loop(tmp_path, precision="nvfp4").setup.precision is Precision.FP4


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({}, Split(8)),
        ({"id": "x_tp4_ep4_9", "tp_size": "16.0", "moe_tp_size": "4.0", "moe_ep_size": "4.0"}, Split(4, 1, True)),
        ({"id": "cfg9", "tp_size": "64.0", "moe_tp_size": "8.0", "moe_ep_size": "8.0"}, Split(8, 1, True)),
        (
            {
                "id": "cfg9",
                "tp_size": "1.0",
                "attention_dp_size": "16.0",
                "moe_tp_size": "4.0",
                "moe_ep_size": "4.0",
            },
            Split(4, 4, True),
        ),
        ({"id": "cfg9", "tp_size": "2.0", "attention_dp_size": "0.0", "moe_tp_size": "0.0"}, Split(2)),
    ],
)
def test_chips_counted_twice_are_counted_once(tmp_path: Path, cells: dict[str, str], expected: Split) -> None:
    row = loop(tmp_path, **cells)
    assert row.decode.split == expected
    assert row.kind == "agg"


def test_a_rack_in_one_row_is_a_deployment_nobody_described(tmp_path: Path) -> None:
    row = loop(tmp_path, id="x_tp72_ep1_5", system="gb200", tp_size="72.0")
    assert (row.declared, row.kind) == (False, "undeclared")


def test_a_split_without_its_worker_counts_is_undeclared(tmp_path: Path) -> None:
    sides = {"prefill_tp_size": "4.0", "decode_tp_size": "8.0"}
    assert loop(tmp_path, mode="disagg", **sides).kind == "undeclared"
    counts = {"prefill_num_workers": "1.0", "decode_num_workers": "5.0"}
    row = loop(tmp_path, mode="disagg", **sides, **counts)
    assert row.kind == "disagg"
    assert row.prefill is not None
    assert (row.prefill.split.chips, row.decode.workers, row.decode.split.chips) == (4, 5, 8)


def test_concurrency_that_was_not_recorded_is_what_the_workers_hold(tmp_path: Path) -> None:
    row = loop(
        tmp_path,
        mode="disagg",
        concurrency="",
        decode_batch_size="24",
        decode_num_workers="3",
        prefill_num_workers="1",
        decode_attention_dp_size="2",
    )
    assert row.concurrency == 24 * 3 * 2


OTHERS: list[tuple[str, str, type[Measurement]]] = [
    ("round,division,submitter,system,benchmark,scenario,valid,tok_s,samples_s,ttft_mean_ms,tpot_mean_ms,source",
     "v5.1,closed,A,B200-SXM-180GBx8_TRT,llama2-70b-99,Server,VALID,100.5,0.35,40,8,s", ServerRun),
    ("provider,model,input_tokens,output_tokens,ttft_ms,itl_ms", "groq,llama2-70b,550,150,222,5.3", ApiCall),
    ("device,model,tp,tokens,ms_layer_nonattn", "a100,Qwen/Qwen-72B,2,16,0.5", LayerTime),
    ("num_workers,size,devices_per_node,collective,ms,fabric", "2,2048,1,all_reduce,0.04,a100_dgx", CollectiveTime),
    ("device,model,chips,isl,osl,metric,value,source", "tpu-v6e,m,8,1024,1024,tok_s,99,s", Published),
    ("t,running,waiting,kv_cache_pct", "1.0,5,2,13.2", LoadSample),
    ("run,vllm,tp,max_num_seqs,max_num_batched_tokens,num_kv_tokens", "RTX4090/Llama-3.1-8B,0.19,1,256,2048,",
     EngineRun),
    ("run,request_id,arrival_s,input_tokens,output_tokens,first_token_s,last_token_s", "r,a,0,9,5,0.1,0.5",
     RequestTimes),
]  # fmt: skip


@pytest.mark.parametrize(("header", "row", "kind"), OTHERS, ids=[kind.__name__ for _, _, kind in OTHERS])
def test_the_other_formats(tmp_path: Path, header: str, row: str, kind: type[Measurement]) -> None:
    [found] = read(written(tmp_path, header, row))
    assert type(found) is kind


def test_a_system_of_one_kind_of_chip_knows_its_device(tmp_path: Path) -> None:
    header, row, _ = OTHERS[0]
    [one] = read(written(tmp_path, header, row))
    [mixed] = read(written(tmp_path, header, row.replace("B200-SXM-180GBx8_TRT", "something else")))
    assert isinstance(one, ServerRun)
    assert isinstance(mixed, ServerRun)
    assert one.device is not None
    assert (one.device.id, one.chips, mixed.device) == ("b200-sxm", 8, None)
    assert (one.division, one.requests_per_s) == ("closed", 0.35)


GOOD = "h100-80gb,llama2-70b,decode,32,1,576,8,fp16,vllm-2023(x),30,measured,s"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (GOOD.replace("decode", "dekode"), r":3: phase: 'dekode' is none of prefill, decode, mixed"),
        (GOOD.replace(",30,", ",thirty,"), r":3: ms: 'thirty' is not a number"),
        (GOOD.replace(",30,", ",-1,"), r":3: ms: -1 is not positive"),
        (GOOD.replace(",30,", ",nan,"), r":3: ms: nan is not finite"),
        (GOOD.replace(",32,", ",3.5,"), r":3: batch: 3.5 is not a count"),
        (GOOD.replace("fp16", "fp17"), r":3: precision: 'fp17' is none of fp16"),
        (GOOD.replace("h100-80gb", "h1000"), r":3: unknown device 'h1000'"),
        (GOOD.replace("vllm-2023(x)", "(x)"), r":3: engine: '\(x\)' is not a name"),
        (GOOD + ",more", r":3: 13 cells, the header has 12"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path: Path, row: str, complaint: str) -> None:
    path = written(tmp_path, ITERATION, GOOD, row)
    with pytest.raises(MeasurementError, match=f"{path}{complaint}"):
        read(path)


def test_names_nobody_knows_can_be_collected_instead(tmp_path: Path) -> None:
    path = written(tmp_path, ITERATION, GOOD.replace("llama2-70b", "llama-99"), GOOD)
    unknown: list[str] = []
    assert len(read(path, unknown)) == 1
    assert "data.csv:2: unknown model 'llama-99'" in unknown[0]


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("provider,model,input_tokens", "nearest are API calls, which also need itl_ms, output_tokens, ttft_ms"),
        ("t,t,running,waiting,kv_cache_pct", "a column is named twice"),
        ("", "unknown columns"),
    ],
)
def test_a_header_nobody_knows_is_told_what_it_lacks(tmp_path: Path, header: str, complaint: str) -> None:
    with pytest.raises(MeasurementError, match=complaint):
        read(written(tmp_path, header))


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8b not gzip")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe")
    for name in ("bad.gz", "bad.csv", "missing.csv"):
        with pytest.raises(MeasurementError, match=name):
            read(tmp_path / name)
    with pytest.raises(MeasurementError, match="not CSV"):
        read(written(tmp_path, "t,running,waiting,kv_cache_pct", '1,"2'))
