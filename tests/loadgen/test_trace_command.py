"""`tokenyard trace` and `--workload` as users meet them, in process."""

import json
from pathlib import Path

import pytest

from loadgen.cli import main
from loadgen.presets import PRESETS

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "loadgen" / "data" / "demo.yaml")
SHIPPED = str(ROOT / "loadgen" / "data" / "azure2023_conv_10min.csv.gz")


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize("command", ["describe", "presets", "make"])
def test_each_has_help_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = ran(capsys, "trace", command, "--help")
    assert code == 0
    assert f"tokenyard trace {command}" in out.partition("Example")[2]


def test_presets_are_listed_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran(capsys, "trace", "presets")
    assert code == 0
    assert all(f"{name}: " in out for name in PRESETS)
    assert "Splitwise" in out
    listed = json.loads(ran(capsys, "trace", "presets", "--json")[1])
    assert [entry["name"] for entry in listed] == list(PRESETS)


def test_a_made_file_is_described_like_the_workload_it_was_made_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = str(tmp_path / "a.csv.gz")
    made = ("--workload", "chat", "--rate", "4", "--duration", "60", "--seed", "3")
    code, out, _ = ran(capsys, "trace", "make", *made, "-o", file)
    assert (code, out.startswith(f"{file}: ")) == (0, True)
    of_file = json.loads(ran(capsys, "trace", "describe", file, "--json")[1])
    of_name = json.loads(ran(capsys, "trace", "describe", *made, "--json")[1])
    assert (of_file.pop("file"), of_name.pop("workload")) == (file, "chat")
    assert of_file == of_name
    assert of_file["prefix_reuse"] > 0.1


def test_a_window_of_a_trace_is_described_and_made(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    window = ("--start", "60", "--duration", "30", "--rate-scale", "2")
    found = json.loads(ran(capsys, "trace", "describe", SHIPPED, *window, "--json")[1])
    assert found["duration_s"] <= 30
    assert ran(capsys, "trace", "make", "--trace", SHIPPED, *window, "-o", str(tmp_path / "w.csv"))[0] == 0
    assert (
        json.loads(ran(capsys, "trace", "describe", str(tmp_path / "w.csv"), "--json")[1])["requests"]
        == (found["requests"])
    )


def test_caches_are_shown_to_people_where_there_are_ids(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ran(capsys, "trace", "describe", "--workload", "chat", "--duration", "60")
    assert "1,048,576 tokens" in out
    assert "any size" in out
    assert "one prefix cache of" not in ran(capsys, "trace", "describe", SHIPPED)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("describe",), 2, "nothing to describe: name a FILE"),
        (("describe", SHIPPED, "--start", "9999"), 1, "nothing to describe: no request comes"),
        (("describe", "--workload", "chat"), 2, "give --duration"),
        (("describe", "--workload", "chatt", "--duration", "9"), 2, "unknown workload 'chatt'; did you mean 'chat'"),
        (("describe", SHIPPED, "--workload", "chat", "--duration", "9"), 2, "--workload and --trace both"),
        (("make", "-o", "x.csv"), 2, "nothing to send: give --trace"),
        (("make", "-o", "x.csv", "--workload", "chat", "--input", "5"), 2, "--input and --output are for made lengths"),
        (("make", "-o", "x.csv", "--rate", "1", "--arrivals", "mmpp:1", "--duration", "1"), 2, "arrivals 'mmpp:1'"),
        (("make", "-o", "/no/such/x.csv", "--rate", "9", "--duration", "9"), 1, "/no/such/x.csv: cannot write"),
    ],
)
def test_mistakes_are_one_line_each(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, _, told = ran(capsys, "trace", *arguments)
    assert found == code
    assert message in told
    assert len(told.splitlines()) == 1


def test_a_named_workload_is_simulated_like_the_file_made_of_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = ("--workload", "rag", "--duration", "20", "--seed", "3")
    assert ran(capsys, "trace", "make", *made, "-o", str(tmp_path / "t.csv"))[0] == 0
    simulate = ("simulate", "-c", DEMO, "--policy", "least-load", "--no-timing", "--seed", "3", "--json", "-")
    told = json.loads(ran(capsys, *simulate, *made)[1])
    named = told["runs"][0]
    traced = json.loads(ran(capsys, *simulate, "--trace", str(tmp_path / "t.csv"))[1])["runs"][0]
    assert told["workload"] == "rag"
    assert named["requests"] == traced["requests"] > 40
    assert named["ttft_s"] == traced["ttft_s"]


def test_a_cut_off_trace_ends_a_simulation_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "cut.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n0,100,5\n1,100,5\n2,10")
    code, out, told = ran(capsys, "simulate", "-c", DEMO, "--trace", str(file))
    assert (code, out) == (2, "")
    assert told.startswith(f"tokenyard: {file}:4: 2 columns; expected 3")


def test_an_empty_trace_is_an_error_and_no_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "empty.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n")
    code, out, told = ran(capsys, "simulate", "-c", DEMO, "--trace", str(file), "--json", "-")
    assert (code, out) == (2, "")
    assert "no rows; expected at least one request" in told
