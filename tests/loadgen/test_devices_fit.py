"""`tokenyard devices fit` as those with measurements meet it."""

import json
from pathlib import Path

import pytest

from devices.fits.fit_file import from_yaml
from loadgen.cli import main

DATA = Path(__file__).parents[1] / "devices" / "data"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(("devices", "fit", *arguments))
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.mark.slow
def test_fits_are_written_with_their_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data, out = str(DATA / "iterations.csv"), str(tmp_path / "fits")
    code, text, _ = run(capsys, data, "--out", out, "--made", "2026-11-22", "--json")
    assert code == 0
    found = json.loads(text)
    assert set(found) == {"iteration"}
    assert found["iteration"]["rows"] == len((DATA / "iterations.csv").read_text().splitlines()) - 1
    written = from_yaml((tmp_path / "fits" / "iteration.yaml").read_text(), "iteration.yaml")
    assert written.made == "2026-11-22"
    assert set(written.groups) == set(found["iteration"]["groups"])


@pytest.mark.slow
def test_the_table_has_a_line_for_each_group(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, text, _ = run(capsys, str(DATA / "iterations.csv"), "--out", str(tmp_path))
    assert code == 0
    assert "h100-sxm / bloom-176b / vllm 2023 splitwise" in text


def test_a_folder_that_cannot_be_written_is_a_finding(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    excerpt = tmp_path / "few.csv"
    excerpt.write_text("\n".join((DATA / "iterations.csv").read_text().splitlines()[:4]))
    code, _, err = run(capsys, str(excerpt), "--out", str(tmp_path / "taken"))
    assert code == 1
    assert "cannot be written" in err


def test_a_file_with_nothing_to_fit_is_misuse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, str(DATA / "requests.csv"), "--out", str(tmp_path))
    assert code == 2
    assert "nothing to fit" in err


def test_a_missing_file_is_misuse_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "nowhere.csv")
    assert code == 2
    assert "nowhere.csv: cannot be read: No such file" in err
