"""The DMI files of machines."""

from __future__ import annotations

from pathlib import Path

from agent.system.dmi import read_dmi


def test_fields_as_the_firmware_has_them(tmp_path: Path) -> None:
    (tmp_path / "sys_vendor").write_text("Hetzner\n", encoding="ascii")
    fields = read_dmi(str(tmp_path))
    assert (fields["sys_vendor"], fields["product_name"]) == ("Hetzner", "")


def test_files_that_are_none(tmp_path: Path) -> None:
    assert not any(read_dmi(str(tmp_path / "no")).values())
    (tmp_path / "sys_vendor").mkdir()
    (tmp_path / "product_name").write_bytes(b"\xff\xfe\x00" * 100_000)
    assert read_dmi(str(tmp_path))["sys_vendor"] == ""
    (tmp_path / "product_name").write_text("OpenStack" + "x" * 2560, encoding="ascii")
    assert read_dmi(str(tmp_path))["product_name"] == "OpenStack" + "x" * 247
