"""The Dockerfile and the compose file, checked as far as that goes without a Docker engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from loadgen.cli import app
from router.config import load
from router.layout import layout

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = [name for name, service in SERVICES.items() if service.get("command", [""])[0] == "worker"]


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def final_stage() -> dict[str, str]:
    lines = instructions()
    start = max(i for i, (word, _) in enumerate(lines) if word == "FROM")
    return dict(lines[start:])


def arguments(command: list[str]) -> tuple[str, dict[str, Any]]:
    """The command and the parameters the command line takes from these arguments; raises what a user would see."""
    group = typer.main.get_command(app)
    context = group.make_context("tokenyard", [*command], resilient_parsing=False)
    name, found, rest = group.resolve_command(context, context._protected_args + context.args)  # type: ignore[attr-defined]
    assert found is not None
    return str(name), found.make_context(name, rest, parent=context).params


def copied() -> list[str]:
    """What the build takes from the repository."""
    return [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]


def test_the_image_is_built_in_two_stages_on_one_base() -> None:
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    user, _, group = final_stage()["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_nothing_in_the_image_needs_a_shell() -> None:
    stage = final_stage()
    assert "RUN" not in stage
    assert all(
        isinstance(json.loads(rest), list) for word, rest in instructions() if word in {"RUN", "ENTRYPOINT", "CMD"}
    )
    health = stage["HEALTHCHECK"].partition(" CMD ")[2]
    assert isinstance(json.loads(health), list)


def test_the_image_starts_the_gateway_by_its_console_script() -> None:
    stage = final_stage()
    [program] = json.loads(stage["ENTRYPOINT"])
    assert Path(program).name in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    command, parameters = arguments(json.loads(stage["CMD"]))
    assert command == "serve"
    assert str(parameters["config"]) == "/etc/tokenyard/fleet.yaml"


def test_the_build_takes_what_it_needs_past_the_ignore_file() -> None:
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert set(copied()) == kept
    assert [name for name in kept if not (ROOT / name).exists()] == []


def test_every_installed_package_is_copied_into_the_build() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in settings["tool"]["setuptools"]["packages"]["find"]["include"]}
    needed = packages | {settings["project"]["readme"], *settings["project"]["license-files"], "pyproject.toml"}
    assert set(copied()) == needed


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server on a free port that answers every GET with `status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def checks() -> list[tuple[str, str]]:
    """(whose, code) of every health check that is a line of Python."""
    image = json.loads(final_stage()["HEALTHCHECK"].partition(" CMD ")[2])
    services = [(name, SERVICES[name]["healthcheck"]["test"][1:]) for name in WORKERS]
    return [(name, command[2]) for name, command in [("image", image), *services] if command[1] == "-c"]


def test_every_health_check_is_there() -> None:
    assert [name for name, _ in checks()] == ["image", *WORKERS]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_a_health_check_passes_when_the_answer_is_200_and_fails_otherwise(status: int, healthy: bool) -> None:
    for code in {code for _, code in checks()}:
        with answering(status) as port:
            here, found = re.subn(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", code)
            assert found == 1
            done = subprocess.run([sys.executable, "-c", here], capture_output=True, timeout=30)
        assert (done.returncode == 0) is healthy, code


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_refers_to_what_exists(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", ()):
        source, _, mode = volume.split(":") if volume.count(":") == 2 else (*volume.split(":"), "rw")
        assert (mode == "ro" and (DOCKER / source).exists()) or source in COMPOSE["volumes"], volume
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    network = service.get("network_mode", "service:gateway")
    assert network.removeprefix("service:") in SERVICES
    if build := service.get("build"):
        assert (DOCKER / build["context"] / build["dockerfile"]).samefile(DOCKER / "Dockerfile")


def test_the_fleet_file_loads_and_prefill_can_hand_over_to_the_gpus() -> None:
    made = layout(load(DOCKER / "fleet.yaml"))
    assert {worker.pool.name for worker in made.workers} == set(WORKERS)
    assert set(made.links) == {("prefill", "gpu")}


@pytest.mark.parametrize("name", WORKERS)
def test_every_simulated_worker_listens_where_the_fleet_file_looks_for_its_pool(name: str) -> None:
    command, given = arguments(SERVICES[name]["command"])
    assert (command, given["pool"], given["host"]) == ("worker", name, "0.0.0.0")
    [entry] = [entry for entry in load(DOCKER / "fleet.yaml").pools if entry.name == name]
    [url] = entry.workers
    assert (urlsplit(url).hostname, urlsplit(url).port) == (name, given["port"])
    assert f"./fleet.yaml:{given['config']}:ro" in SERVICES[name]["volumes"]


def test_prometheus_sees_the_gateway_on_loopback_and_every_worker_by_name() -> None:
    operator = load(DOCKER / "fleet.yaml").operator
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs[0]["static_configs"] == [{"targets": [f"{operator.host}:{operator.port}"]}]
    assert SERVICES["prometheus"]["network_mode"] == "service:gateway"
    targets = {target for entry in yaml.safe_load((DOCKER / "workers.yml").read_text()) for target in entry["targets"]}
    assert targets == {f"{name}:8000" for name in WORKERS}


def test_prometheus_reads_its_own_files_from_where_they_are_mounted() -> None:
    mounts = dict(volume.split(":")[:2][::-1] for volume in SERVICES["prometheus"]["volumes"])
    assert (DOCKER / mounts["/etc/prometheus"] / "prometheus.yml").exists()
    assert (DOCKER / mounts["/etc/prometheus"] / "workers" / "workers.yml").exists()  # a mount needs a file to cover
    assert mounts["/etc/prometheus/workers/workers.yml"] == "./workers.yml"
