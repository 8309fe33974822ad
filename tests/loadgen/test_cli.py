"""The command line as users meet it, in process: exit codes, one clear line per mistake, JSON for programs."""

import json
import socket
from pathlib import Path

import pytest

from loadgen.cli import main
from policies.table import POLICIES

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "loadgen" / "data" / "demo.yaml")
TRACE = str(ROOT / "loadgen" / "data" / "azure2023_conv_10min.csv.gz")


class Ran:
    """One run of the command line."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        self.code = ended.value.code
        self.out, self.err = capsys.readouterr()

    @property
    def complaint(self) -> str:
        """The one line a mistake is told in."""
        [line] = self.err.splitlines()
        assert "Traceback" not in self.err
        return line


@pytest.mark.parametrize(
    "command",
    [
        *(["serve"], ["demo"], ["worker"], ["loadtest"], ["simulate"], ["policies"], ["check-config"], ["explain"]),
        *(["devices", "list"], ["devices", "show"], ["trace", "describe"]),
    ],
)
def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    ran = Ran(capsys, *command, "--help")
    assert ran.code == 0
    assert "tokenyard " + " ".join(command) in ran.out.partition("Example")[2]


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys)
    for command in ("serve", "demo", "worker", "loadtest", "simulate", "devices", "trace", "explain"):
        assert command in ran.out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert Ran(capsys, "--version").out.startswith("tokenyard ")


def test_devices_are_listed_and_shown_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(Ran(capsys, "devices", "list", "--json").out)
    assert {"id", "vendor", "family", "status"} <= listed[0].keys()
    assert "groq-lpu-v1" in [device["id"] for device in listed]
    assert "h200-sxm" in Ran(capsys, "devices", "list").out
    shown = json.loads(Ran(capsys, "devices", "show", "h200-sxm", "--json").out)
    assert shown["sources"]["memory_bytes"]
    assert "memory_bytes" in Ran(capsys, "devices", "show", "h200-sxm").out


def test_an_unknown_device_is_one_line_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "devices", "show", "h200-smx")
    assert ran.code == 2
    assert ran.complaint == "tokenyard: unknown device 'h200-smx'; did you mean 'h200-sxm'?"


def test_a_trace_is_described_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(Ran(capsys, "trace", "describe", TRACE, "--json").out)["requests"] == 2867
    assert "input_tokens" in Ran(capsys, "trace", "describe", TRACE).out


def test_a_bad_trace_is_one_line_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n1,x,1\n")
    ran = Ran(capsys, "trace", "describe", str(bad))
    assert ran.code == 2
    assert ran.complaint.startswith(f"tokenyard: {bad}:3: input_tokens 'x'; expected")


def test_policies_are_listed_with_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {entry["name"]: entry for entry in json.loads(Ran(capsys, "policies", "--json").out)}
    assert set(listed) == set(POLICIES)
    assert "margin" in listed["cost-slo"]["options"]
    assert "round-robin" in Ran(capsys, "policies").out


def test_a_good_fleet_file_is_shown_with_its_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "check-config", DEMO)
    assert ran.code == 0
    assert "hypothetical" in ran.out
    told = json.loads(Ran(capsys, "check-config", DEMO, "--json").out)
    assert [pool["pool"] for pool in told["pools"]] == ["h200", "mi355x", "lpu", "tpu"]
    assert {"from", "to", "verdict", "why"} == told["pairs"][0].keys()


def test_a_bad_fleet_file_is_a_finding_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "fleet.yaml"
    bad.write_text(Path(DEMO).read_text().replace("device: mi355x", "device: mi35x5"))
    ran = Ran(capsys, "check-config", str(bad))
    assert ran.code == 1
    assert f"{bad}:" in ran.complaint
    assert "did you mean 'mi355x'?" in ran.complaint
    assert Ran(capsys, "simulate", "--config", str(bad), "--trace", TRACE).code == 2


def test_a_missing_fleet_file_is_wrong_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    none = tmp_path / "none.yaml"
    ran = Ran(capsys, "check-config", str(none))
    assert ran.code == 2
    assert ran.complaint == f"tokenyard: {none}: no such file; expected a fleet file (YAML)"
    assert "is a directory" in Ran(capsys, "check-config", str(tmp_path)).complaint


def simulated(capsys: pytest.CaptureFixture[str], *more: str) -> Ran:
    return Ran(capsys, "simulate", "--config", DEMO, "--trace", TRACE, "--duration", "5", *more)


def test_policies_are_simulated_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    ran = simulated(capsys, "--policy", "cost-slo,least-load", "--classes", "chat:0.7,agent:0.3", "--json", "-")
    assert ran.code == 0
    made = json.loads(ran.out)
    assert [run["policy"] for run in made["runs"]] == ["cost-slo", "least-load"]
    assert made["runs"][0]["completed"] == made["runs"][0]["requests"] > 0
    assert made["runs"][0]["timing"]["cpu_s"] > 0
    assert made["runs"][0]["by_pool"]["mi355x"]["taken_over"] > 0
    assert set(made["runs"][0]["by_class"]) <= {"chat", "agent"}


def test_a_fleet_is_not_rented_beyond_the_end_of_a_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n4,100,10\n")
    ran = Ran(capsys, "simulate", "--config", DEMO, "--trace", str(short), "--duration", "3600", "--json", "-")
    [run] = json.loads(ran.out)["runs"]
    assert run["offered_rps"] == 0.5
    assert 4 < run["duration_s"] < 5


def test_a_report_goes_to_a_file_and_tables_to_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ran = simulated(capsys, "--json", str(tmp_path / "r.json"))
    assert "cost-slo" in ran.out
    assert json.loads((tmp_path / "r.json").read_text())["command"] == "simulate"


def test_without_timing_a_report_is_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--no-timing", "--json", "-", "--policy", "cost-slo,random")
    first, again = (simulated(capsys, *options).out for _ in range(2))
    assert first == again
    assert "timing" not in first


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--trace", TRACE, "--policy", "cost-sol"), "unknown policy 'cost-sol'; did you mean 'cost-slo'?"),
        ((), "nothing to send: give --trace FILE, --rate R or --workload NAME"),
        (("--rate", "5"), "made arrivals never end: give --duration S with --rate"),
        (
            ("--rate", "5", "--duration", "1", "--arrivals", "gama:2"),
            "arrivals 'gama:2'; expected poisson, gamma:CV, mmpp",
        ),
        (("--rate", "5", "--duration", "1", "--input", "x"), "length 'x'; expected P50 or P50:SIGMA"),
        (("--trace", TRACE, "--classes", "chta"), "class 'chta' is not in the fleet file; did you mean 'chat'?"),
        (("--trace", TRACE, "--model", "gpt"), "unknown model 'gpt'; "),
        (("--trace", "/no/such.csv"), "/no/such.csv: No such file or directory"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    ran = Ran(capsys, "simulate", "--config", DEMO, *arguments)
    assert ran.code == 2
    assert ran.complaint.startswith(f"tokenyard: {complaint}")


@pytest.mark.parametrize(
    ("option", "value"), [("--rate", "inf"), ("--rate", "nan"), ("--rate-scale", "inf"), ("--overhead", "inf")]
)
def test_a_figure_that_would_never_end_is_refused(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    ran = Ran(capsys, "simulate", "--config", DEMO, "--rate", "1", "--duration", "1", option, value)
    assert ran.code == 2
    assert option in ran.err


def test_a_simulation_of_nothing_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "simulate", "--config", DEMO, "--trace", TRACE, "--start", "99999")
    assert ran.code == 1
    assert ran.complaint.startswith("tokenyard: nothing to simulate: no request comes between --start and ")


def test_a_host_name_that_does_not_resolve_is_a_finding_with_its_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.yaml"
    pool = "{name: gpu, device: h100-sxm, model: llama-3.1-8b, discover: {dns: nothing.invalid, port: 8000}}"
    fleet.write_text(f"models: [{{name: llama-3.1-8b}}]\npools: [{pool}]\n")
    ran = Ran(capsys, "check-config", str(fleet))
    assert ran.code == 1
    assert ran.complaint.startswith(f"tokenyard: {fleet}:2:76: pools[0].discover.dns: cannot resolve 'nothing.invalid'")
    assert Ran(capsys, "simulate", "-c", str(fleet), "--rate", "1", "--duration", "1").complaint == ran.complaint


def test_files_that_only_serve_needs_are_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "check-config", str(ROOT / "deploy" / "examples" / "api.yaml"))
    assert ran.code == 0
    assert "pools[1].key_file" in ran.out
    assert "no such file or directory; `serve` needs it" in ran.out


def test_serve_says_where_a_file_it_needs_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "serve", "--config", str(ROOT / "deploy" / "examples" / "api.yaml"))
    assert ran.code == 2
    assert "api.yaml:20:15: pools[1].key_file: " in ran.complaint


def test_an_api_cannot_be_served_by_a_simulated_worker(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    pool = "{name: cloud, api: {provider: cerebras}, model: llama-3.1-70b, simulate: 1}"
    fleet.write_text(f"models: [{{name: llama-3.1-70b}}]\npools: [{pool}]\n")
    ran = Ran(capsys, "serve", "--config", str(fleet))
    assert ran.code == 2
    assert ran.complaint.startswith(f"tokenyard: {fleet}: pool cloud: an API has no device to simulate over HTTP")


def test_an_unreachable_endpoint_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(capsys, "loadtest", "http://127.0.0.1:9", "--trace", TRACE)
    assert ran.code == 1
    assert ran.complaint == (
        "tokenyard: http://127.0.0.1:9: cannot be reached (Connection refused); is the gateway running?"
    )
    assert Ran(capsys, "loadtest", "ftp//x", "--trace", TRACE).code == 2
    ran = Ran(capsys, "explain", "abc", "--url", "http://127.0.0.1:9")
    assert ran.code == 1
    assert "is the gateway running?" in ran.complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "worker: give --device and --model"),
        (("--device", "h1000", "--model", "llama-3.1-8b"), "unknown device 'h1000'; "),
        (("--device", "h100-sxm", "--model", "llama-9"), "unknown model 'llama-9'; "),
        (("--device", "h100-sxm", "--model", "deepseek-v3"), "deepseek-v3 in fp8 has "),
        (("--device", "h100-sxm", "--model", "llama-3.1-8b", "--engine", "trtllm"), "--engine trtllm: "),
        (("--config", DEMO, "--pool", "gpu"), f"{DEMO}: --pool gpu: no such pool"),
        (("--config", DEMO, "--pool", "h200", "--index", "2"), f"{DEMO}: --index 2: pool h200 simulates 2"),
    ],
)
def test_a_worker_that_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    ran = Ran(capsys, "worker", *arguments)
    assert ran.code == 2
    assert ran.complaint.startswith(f"tokenyard: {complaint}")


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = Ran(capsys, "worker", "--device", "h100-sxm", "--model", "llama-3.1-8b", "--port", port)
    assert ran.code == 2
    assert ran.complaint.startswith(f"tokenyard: cannot listen on 127.0.0.1:{port}: ")


def test_a_shadowed_package_stops_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.py").write_text("raise SystemExit('the wrong devices')")
    monkeypatch.delitem(__import__("sys").modules, "devices")
    monkeypatch.syspath_prepend(tmp_path)
    ran = Ran(capsys, "policies")
    assert ran.code == 2
    assert ran.complaint.startswith(f"tokenyard: 'devices' is taken from {tmp_path / 'devices.py'}")
