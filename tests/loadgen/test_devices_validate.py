"""`tokenyard devices validate` as a sceptic meets it."""

import json
import shutil
from pathlib import Path

import pytest

from loadgen.cli import main

DATA = Path(__file__).parents[1] / "devices" / "data"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("devices", "validate", *arguments))
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture
def few(tmp_path: Path) -> str:
    """A handful of rows of one model: one fold."""
    header, *rows = (DATA / "iterations.csv").read_text().splitlines()
    path = tmp_path / "few.csv"
    path.write_text("\n".join([header, *[row for row in rows if "bloom" in row][:5]]))
    return str(path)


@pytest.mark.slow
def test_the_report_is_json_for_programs(capsys: pytest.CaptureFixture[str], few: str) -> None:
    code, out, _ = run(capsys, few, "--json", "--seed", "4")
    assert code == 0
    found = json.loads(out)
    assert found["overall"]["rows"] == 5
    assert found["seed"] == 4
    assert found["overall"]["ms"]["median_abs"] < 0.3  # predicted from the shipped points of other models
    assert found["by_kind"]["measured"]["rows"] == 5


@pytest.mark.slow
def test_the_report_is_a_table_for_people(capsys: pytest.CaptureFixture[str], few: str) -> None:
    code, out, _ = run(capsys, few, "--groups")
    assert code == 0
    for words in ("overall", "by kind", "by device", "by engine", "the worst first", "h100-sxm"):
        assert words in out


@pytest.mark.slow
def test_rows_with_unknown_names_are_left_out_and_said_so(capsys: pytest.CaptureFixture[str], few: str) -> None:
    text = Path(few).read_text()
    Path(few).write_text(text + "\n" + text.splitlines()[1].replace("bloom-176b", "nobody-9b"))
    code, out, err = run(capsys, few, "--json")
    assert code == 0
    assert json.loads(out)["overall"]["rows"] == 5
    assert "1 rows of" in err
    assert "unknown model 'nobody-9b'" in err


@pytest.mark.slow
def test_requests_of_a_run_are_replayed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("requests.csv", "requests_runs.csv"):
        shutil.copy(DATA / name, tmp_path / name)
    code, out, _ = run(capsys, str(tmp_path / "requests.csv"), "--json")
    assert code == 0
    assert set(json.loads(out)["overall"]) == {"rows", "ttft", "tpot", "e2e"}
    code, out, _ = run(capsys, str(tmp_path / "requests.csv"))
    assert code == 0
    assert "RTXPRO6000/Llama-3.1-8B" in out


def test_requests_without_the_limits_of_their_run_are_misuse(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copy(DATA / "requests.csv", tmp_path / "requests.csv")
    code, _, err = run(capsys, str(tmp_path / "requests.csv"))
    assert code == 2
    assert "requests_runs.csv" in err
    (tmp_path / "requests_runs.csv").write_text(
        "run,vllm,tp,max_num_seqs,max_num_batched_tokens,num_kv_tokens\nRTX4090/Llama-3.1-8B,1,1,1,1,\n"
    )
    code, _, err = run(capsys, str(tmp_path / "requests.csv"))
    assert code == 2
    assert "no limits for run 'RTXPRO6000/Llama-3.1-8B'; known: RTX4090/Llama-3.1-8B" in err


def test_what_nothing_predicts_is_misuse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("t,running,waiting,kv_cache_pct\n1,2,3,4\n")
    code, _, err = run(capsys, str(path))
    assert code == 2
    assert "rows of LoadSample cannot be validated" in err
    path.write_text("t,running,waiting,kv_cache_pct\n")
    assert "a file without rows" in run(capsys, str(path))[2]


def test_a_damaged_file_is_misuse_with_its_line(capsys: pytest.CaptureFixture[str], few: str) -> None:
    Path(few).write_text(Path(few).read_text().replace("decode", "dekode").replace("prefill", "prefil"))
    code, _, err = run(capsys, few)
    assert code == 2
    assert "few.csv:2: phase" in err
