"""The wheel as users get it: what is in it, and that it runs from any folder, whatever lies there."""

import configparser
import io
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("devices", "policies", "router", "loadgen")
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "out")
    shutil.copytree(ROOT, folder / "source", ignore=unwanted)
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(folder / "source"))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def tokenyard(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script in an environment of its own, which borrows our dependencies but not our checkout."""
    home = tmp_path_factory.mktemp("home")
    venv.create(home)
    python = home / "bin" / "python"
    pip(sys.executable, "--python", str(python), "install", "--no-deps", str(wheel))
    [ours] = [path for path in map(Path, sys.path) if path.name == "site-packages" and path.is_dir()][:1]
    (home / SITE / "borrowed.pth").write_text(f"{ours}\n")
    return home / "bin" / "tokenyard"


def pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr


def ran(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command,
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A user's folder with modules named like our packages."""
    (tmp_path / "devices.py").write_text("raise SystemExit('the wrong devices')\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "__init__.py").write_text("raise SystemExit('the wrong policies')\n")
    return tmp_path


def test_a_wheel_holds_the_four_packages_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == ours
    assert {f"{package}/py.typed" for package in PACKAGES} <= held
    assert {"h100-sxm.yaml", "llama-3.1-8b.yaml"} <= {Path(name).name for name in held if "/catalog/" in name}
    assert {f"loadgen/data/{name}" for name in ("demo.yaml", "azure2023_conv_10min.csv.gz", "ATTRIBUTION.md")} <= held


def test_a_wheel_says_what_it_needs_and_offers_one_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        about = message_from_string(archive.read(names["METADATA"]).decode())
        scripts = configparser.ConfigParser()
        scripts.read_file(io.StringIO(archive.read(names["entry_points.txt"]).decode()))
    assert (about["Name"], about["Requires-Python"], about["License-Expression"]) == (
        "tokenyard",
        ">=3.11",
        "Apache-2.0",
    )
    needed = [need for need in about.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert 0 < len(needed) <= 14
    assert dict(scripts["console_scripts"]) == {"tokenyard": "loadgen.cli:main"}
    assert "LICENSE" in names


def test_the_installed_command_does_not_mind_what_lies_in_the_folder(tokenyard: Path, own_folder: Path) -> None:
    done = ran([str(tokenyard), "devices", "list", "--json"], own_folder)
    assert done.returncode == 0, done.stderr
    assert "h100-sxm" in [device["id"] for device in json.loads(done.stdout)]


def test_the_installed_demo_runs_from_any_folder_without_a_home(tokenyard: Path, own_folder: Path) -> None:
    demo = ["demo", "--once", "--duration", "10", "--port", "0", "--operator-port", "0", "--json", "-"]
    done = ran([str(tokenyard), *demo], own_folder, HOME=str(own_folder / "nowhere"))
    assert done.returncode == 0, done.stderr
    [run] = json.loads(done.stdout)["runs"]
    assert run["completed"] == run["requests"] > 0
    assert sorted(path.name for path in own_folder.iterdir()) == ["devices.py", "policies"]


@pytest.mark.parametrize("name", ["devices", "policies"])
def test_a_package_in_the_way_stops_the_start_with_one_line(tokenyard: Path, own_folder: Path, name: str) -> None:
    for other in {"devices", "policies"} - {name}:
        path = own_folder / other
        shutil.rmtree(path) if path.is_dir() else path.with_suffix(".py").unlink()
    done = ran([str(tokenyard), "policies"], own_folder, PYTHONPATH=str(own_folder))
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"tokenyard: '{name}' is taken from {own_folder / name}")


def test_the_module_behind_the_command_does_not_end_in_silence(tokenyard: Path, tmp_path: Path) -> None:
    done = ran([str(tokenyard.with_name("python")), "-m", "loadgen.cli", "--version"], tmp_path)
    assert (done.returncode, done.stdout.split()[0]) == (0, "tokenyard")


def test_a_full_disk_behind_stdout_is_one_line(tokenyard: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    for command in ("policies", "devices list --json", "--version"):
        done = ran(["sh", "-c", f"{tokenyard} {command} > /dev/full"], tmp_path)
        assert (done.returncode, done.stderr) == (1, "tokenyard: stdout: No space left on device\n")


def test_a_reader_that_leaves_early_hears_no_complaint(tokenyard: Path, tmp_path: Path) -> None:
    done = ran(["sh", "-c", f"{tokenyard} devices show h200-sxm | head -n 1"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdout_is_no_crash(tokenyard: Path, tmp_path: Path) -> None:
    done = ran(["sh", "-c", f"{tokenyard} devices list --json >&-"], tmp_path)
    assert "Traceback" not in done.stderr
