"""The doctor says what is wrong and what to do about it."""

import json
import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from histomend import doctor
from histomend.cli.app import app


def found(name: str, folder: Path) -> doctor.Check:
    return next(check for check in doctor.examine(folder) if check.name == name)


def test_every_check_that_is_not_ok_says_what_to_do(tmp_path: Path) -> None:
    checks = doctor.examine(tmp_path)
    assert {"python", "device", "threads", "bf16", "disk"} <= {check.name for check in checks}
    assert all(check.fix for check in checks if check.status != "ok")


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**8))
    check = found("disk", tmp_path)
    assert (check.status, check.message[:11]) == ("warn", "0.1 GB free")


def test_a_package_that_is_too_old_is_named_with_the_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=99", 'x; extra == "dev"'])
    check = found("numpy", tmp_path)
    assert check.status == "fail"
    assert check.fix == 'pip install "numpy>=99"'
    assert "x" not in {check.name for check in doctor.examine(tmp_path)}


def test_an_optional_package_is_missed_gently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = metadata.version

    def version(name: str) -> str:
        if name == "openslide-python":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(metadata, "version", version)
    check = found("openslide-python", tmp_path)
    assert check.status == "warn"
    assert 'pip install "histomend[slides]"' in check.fix


def test_damaged_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from histomend import models

    folder = tmp_path / "broken"
    config = models.ModelConfig(method="artifusion", arch="small-unet")
    models.save_model(folder, config.network().state_dict(), config)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    monkeypatch.setattr("histomend.models.names.WEIGHTS", tmp_path)
    check = found("model broken", tmp_path)
    assert check.status == "fail"


def flip_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("damaged", ["vae", "config", None])
def test_what_lies_beside_the_weights_is_checked_too(
    damaged: str | None, untrained_latent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "latent"
    shutil.copytree(untrained_latent, folder)
    if damaged == "vae":
        flip_last_byte(folder / "vae" / "diffusion_pytorch_model.safetensors")
    elif damaged == "config":
        (folder / "config.json").write_text("{}")
    monkeypatch.setattr("histomend.models.names.WEIGHTS", tmp_path)
    check = found("model latent", tmp_path)
    if damaged is None:
        assert check.status == "ok"
        assert "autoencoder" in check.message
    else:
        assert check.status == "fail"
        assert "Install again" in check.fix
    if damaged == "vae":
        assert "autoencoder" in check.message


def test_a_damaged_calibrator_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from histomend import models

    calibrating = models.CalibratorConfig("small")
    beside = tmp_path / "beside"
    models.save_calibrator(beside, calibrating.network().state_dict(), calibrating)
    config = models.ModelConfig("rscd", "small", context=False, highest_t=200)
    config = models.fit_to_calibrator(config, beside)
    folder = tmp_path / "bundled" / "whole-field"
    models.save_model(folder, config.network().state_dict(), config, calibrator=beside, half=True)
    monkeypatch.setattr("histomend.models.names.WEIGHTS", tmp_path / "bundled")
    good = found("model whole-field", tmp_path)
    assert (good.status, "calibrator" in good.message) == ("ok", True)
    flip_last_byte(folder / "calibrator" / "model.safetensors")
    assert found("model whole-field", tmp_path).status == "fail"


def test_a_check_that_breaks_down_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[doctor.Check]:
        raise OSError("no such library")

    monkeypatch.setattr(doctor, "_devices", broken)
    check = found("device", tmp_path)
    assert check.status == "fail"
    assert "no such library" in check.message


def test_the_command_fails_if_a_check_does(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = doctor.Check("weights", "fail", "gone", "Install again")
    monkeypatch.setattr(doctor, "examine", lambda: [bad])
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"name": "weights", "status": "fail", "message": "gone", "fix": "Install again"}
    ]
