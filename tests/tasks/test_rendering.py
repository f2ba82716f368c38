"""What is concluded from device files, driver descriptions and version texts, on made-up file systems."""

from __future__ import annotations

import platform as host

import pytest

from vlagen.tasks import rendering
from vlagen.tasks.rendering import (
    find_software_vulkan,
    mesa_is_new_enough,
    mesa_version,
    nvidia_gpu_present,
    prepare_rendering,
    worker_environment,
)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("names", [[], ["nvidiactl", "nvidia-uvm"], ["nvidia-caps"], ["null"]])
def test_no_gpu_without_a_numbered_device(names, tmp_path):
    for name in names:
        touch(tmp_path / "dev" / name)
    assert not nvidia_gpu_present(tmp_path)


@pytest.mark.parametrize("name", ["nvidia0", "nvidia3", "nvidia12"])
def test_any_numbered_device_is_a_gpu(name, tmp_path):
    touch(tmp_path / "dev" / name)
    assert nvidia_gpu_present(tmp_path)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["usr/share/vulkan/icd.d/lvp_icd.json"], 0),
        ([f"usr/share/vulkan/icd.d/lvp_icd.{host.machine()}.json"], 0),
        (["usr/share/vulkan/icd.d/lvp_icd.other.json"], None),
        (["usr/share/vulkan/icd.d/radeon_icd.json"], None),
        (["usr/share/vulkan/icd.d/lvp_icd.json", "etc/vulkan/icd.d/lvp_icd.json"], 1),
        ([], None),
    ],
)
def test_finds_lavapipe_for_this_processor(names, expected, tmp_path):
    paths = [touch(tmp_path / name) for name in names]
    assert find_software_vulkan(tmp_path) == (None if expected is None else paths[expected])


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without a GPU and with lavapipe; the functions that look at it can be replaced."""
    driver = touch(tmp_path / "lvp_icd.json")
    monkeypatch.setattr(rendering, "nvidia_gpu_present", lambda: False)
    monkeypatch.setattr(rendering, "find_software_vulkan", lambda: driver)
    return driver


def test_rendering_is_pointed_at_lavapipe_and_twice_is_the_same_as_once(machine):
    environ = {}
    prepare_rendering(environ)
    prepare_rendering(environ)
    assert environ == {"VK_ICD_FILENAMES": str(machine)}


@pytest.mark.parametrize("variable", ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"])
def test_what_the_user_chose_stays(variable, machine):
    environ = {variable: "/mine.json"}
    prepare_rendering(environ)
    assert environ == {variable: "/mine.json"}


def test_nothing_is_set_with_a_gpu_or_without_lavapipe(machine, monkeypatch):
    environ = {}
    monkeypatch.setattr(rendering, "nvidia_gpu_present", lambda: True)
    prepare_rendering(environ)
    monkeypatch.setattr(rendering, "nvidia_gpu_present", lambda: False)
    monkeypatch.setattr(rendering, "find_software_vulkan", lambda: None)
    prepare_rendering(environ)
    assert environ == {}


@pytest.mark.parametrize(
    ("version", "expected"),
    [("22.3.6-1+deb12u1", False), ("24.2.8", False), ("24.3.0", True), ("25.0.7-2~bpo12+1", True), ("100.1", True)],
)
def test_mesa_versions_compare_as_numbers(version, expected):
    assert mesa_is_new_enough(version) is expected


def test_a_text_that_is_no_version_is_refused():
    with pytest.raises(ValueError, match="'unknown' is no Mesa version"):
        mesa_is_new_enough("unknown")


def test_mesa_version_is_unknown_without_a_package_manager(monkeypatch):
    monkeypatch.setenv("PATH", "")
    mesa_version.cache_clear()
    assert mesa_version() is None
    mesa_version.cache_clear()


def test_workers_share_the_cores_only_where_there_are_several():
    assert worker_environment(1) == {}
    assert worker_environment(2) == worker_environment(64) == {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with pytest.raises(ValueError, match="not 0"):
        worker_environment(0)
