"""`tokenyard simulate` with grids, pages and processes."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.cli import main

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "loadgen" / "data" / "demo.yaml")
MINIMAL = str(ROOT / "deploy" / "examples" / "hetero.yaml")
LOAD = ("--duration", "3", "--no-timing", "--jobs", "1")


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = ran(capsys, *arguments, "--json", "-")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert isinstance(answer, dict)
    return answer


def test_one_point_keeps_the_shape_it_always_had(capsys: pytest.CaptureFixture[str]) -> None:
    made = told(capsys, "-c", DEMO, "--rate", "2", *LOAD, "--policy", "cost-slo,random", "--seed", "3")
    assert list(made) == ["command", "config", "trace", "seed", "runs"]
    assert (made["config"], made["seed"]) == (DEMO, 3)
    assert [run["policy"] for run in made["runs"]] == ["cost-slo", "random"]
    assert "point" not in made["runs"][0]


def test_a_sweep_carries_points_in_the_order_of_the_grid_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    grid = ("-c", DEMO, "-c", MINIMAL, "--rate", "2,4", "--policy", "cost-slo,random", "--seeds", "1..2")
    made = told(capsys, *grid, *LOAD)
    assert list(made) == ["command", "trace", "runs", "summary"]
    points = [run["point"] for run in made["runs"]]
    assert [list(point.values()) for point in points[:5]] == [
        [DEMO, 2.0, "cost-slo", 1],
        [DEMO, 2.0, "cost-slo", 2],
        [DEMO, 2.0, "random", 1],
        [DEMO, 2.0, "random", 2],
        [DEMO, 4.0, "cost-slo", 1],
    ]
    assert (len(points), len(made["summary"])) == (16, 8)
    first = made["summary"][0]
    mean = sum(run["goodput_rps"] for run in made["runs"][:2]) / 2
    assert first["goodput_rps"]["mean"] == pytest.approx(mean, abs=1e-8)


def test_people_get_one_line_per_fleet_rate_and_policy(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran(capsys, "-c", DEMO, "--rate", "2,4", "--seed", "1,2", *LOAD)
    assert code == 0
    assert len([line for line in out.splitlines() if "cost-slo" in line]) == 2
    assert "±" in out


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_how_many_processes_there_were(capsys: pytest.CaptureFixture[str]) -> None:
    grid = ("-c", DEMO, "--rate", "2,4", "--seed", "1,2", "--duration", "3", "--no-timing", "--json", "-")
    one, three = (ran(capsys, *grid, "--jobs", jobs)[1] for jobs in ("1", "3"))
    assert one == three


def test_a_page_is_written_with_the_command_that_made_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    code, out, _ = ran(capsys, "-c", DEMO, "--rate", "2", "--duration", "3", "--no-timing", "--html", str(file))
    assert code == 0
    assert "kept their promise" in out
    text = file.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert f"tokenyard simulate --config {DEMO} --rate 2 --duration 3 --no-timing --html {file}" in text
    again = ran(capsys, "-c", DEMO, "--rate", "2", "--duration", "3", "--no-timing", "--html", str(file))
    assert again[0] == 0
    assert file.read_text() == text


def test_a_page_that_cannot_be_written_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ran(capsys, "-c", DEMO, "--rate", "2", *LOAD, "--html", "/no/such/folder/x.html")
    assert code == 1
    assert "/no/such/folder/x.html: cannot write the report" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rate", "5,x"), "--rate 5,x: expected a number"),
        (("--rate", "5", "--seed", "3..1"), "--seed 3..1: expected a whole number"),
        (("--rate", "5,6", "--policy", "cost-slo,cost-sol"), "unknown policy 'cost-sol'; did you mean 'cost-slo'?"),
        (("--rate", "5", "--policy", "random,random"), "--policy random,random: each policy once"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    code, out, err = ran(capsys, "-c", DEMO, *arguments, *LOAD)
    assert (code, out) == (2, "")
    assert err.startswith(f"tokenyard: {complaint}")
    assert err.count("\n") == 1


def test_the_same_fleet_twice_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ran(capsys, "-c", DEMO, "-c", DEMO, "--rate", "2", *LOAD)
    assert code == 2
    assert err == f"tokenyard: --config {DEMO}: each fleet once\n"


FAULTS = """faults:
  - {at: 0.5, until: 2, vendor: nvidia, down: true}
  - {at: 1, pool: lpu, price: {factor: 3}}
  - {pool: tpu, misstated: {scale: 2}}
"""


def test_faults_act_the_same_way_every_time_and_the_report_names_their_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(FAULTS)
    load = ("-c", MINIMAL, "--rate", "10", *LOAD, "--policy", "cost-slo")
    well, first, again = (told(capsys, *load, *more) for more in ((), ("--faults", str(file)), ("--faults", str(file))))
    assert first == again
    assert first["faults"] == str(file)
    assert "faults" not in well
    [fine], [hit] = well["runs"], first["runs"]
    assert hit["usd"]["rent"] / hit["duration_s"] > 1.2 * fine["usd"]["rent"] / fine["duration_s"]
    assert fine["failed"] == 0 < hit["failed"]


def test_faults_that_do_not_fit_the_fleet_are_wrong_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("faults:\n  - {worker: h200-7, down: true}\n")
    for rates in ("2", "2,4"):
        code, out, err = ran(capsys, "-c", MINIMAL, "--rate", rates, *LOAD, "--faults", str(file))
        assert (code, out) == (2, "")
        assert "faults.yaml:2:14: faults[0].worker: unknown worker 'h200-7'; did you mean 'h200-" in err
