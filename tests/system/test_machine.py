"""What a machine is called: the processor's own name, or on Arm its board and cores."""

import platform
from pathlib import Path

import pytest

from mmpnet.system import machine
from mmpnet.system.machine import cpu_name


@pytest.fixture
def cpu_info(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file in place of /proc/cpuinfo; there is no board beside it."""
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "_BOARD", tmp_path / "model")
    return tmp_path / "cpuinfo"


def cores(*parts: str, maker: str = "0x41") -> str:
    return "\n".join(f"processor\t: 0\nCPU implementer\t: {maker}\nCPU part\t: {part}\n" for part in parts)


def test_a_processor_with_a_model_name_has_that_name(cpu_info: Path) -> None:
    cpu_info.write_text("processor\t: 0\nmodel name\t: AMD EPYC 7763\n\nmodel name\t: AMD EPYC 7763\n")
    assert cpu_name() == "AMD EPYC 7763"


def test_an_arm_board_is_named_with_its_cores(cpu_info: Path) -> None:
    cpu_info.write_text(cores("0xd08", "0xd08", "0xd08", "0xd08"))
    assert cpu_name() == "4 Cortex-A72"
    cpu_info.with_name("model").write_text("Raspberry Pi 4 Model B Rev 1.4\0")
    assert cpu_name() == "Raspberry Pi 4 Model B Rev 1.4, 4 Cortex-A72"


def test_boards_of_the_same_number_of_cores_differ(cpu_info: Path) -> None:
    """Results of a Raspberry Pi 3 must not be compared with those of a Raspberry Pi 4."""
    cpu_info.write_text(cores("0xd03", "0xd03", "0xd03", "0xd03"))
    slow = cpu_name()
    cpu_info.write_text(cores("0xd08", "0xd08", "0xd08", "0xd08"))
    assert slow != cpu_name()


def test_large_and_small_cores_are_counted_apart_and_unknown_ones_named(cpu_info: Path) -> None:
    cpu_info.write_text(cores("0xd05", "0xd05", "0xd0b", "0xfff"))
    assert cpu_name() == "2 Cortex-A55 + 1 Cortex-A76 + 1 Arm part 0xfff"


def test_a_machine_that_tells_nothing_has_the_name_of_its_architecture(
    cpu_info: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    cpu_info.write_text(cores("0x1", maker="0x61"))
    assert cpu_name() == platform.machine()
