"""Providers by the DMI files of their machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.system.provider import MAX_FIELD, provider_of, read_provider

MACHINES = [
    ("aws", {"sys_vendor": "Amazon EC2", "product_name": "t3.small", "board_vendor": "Amazon EC2"}),
    ("aws", {"sys_vendor": "Xen", "product_name": "HVM domU", "product_version": "4.11.amazon",
             "bios_vendor": "Xen", "bios_version": "4.11.amazon"}),
    ("aws", {"sys_vendor": "Xen", "bios_version": "4.2.amazon"}),
    ("aws", {"bios_vendor": "Amazon EC2"}),
    ("google", {"sys_vendor": "Google", "product_name": "Google Compute Engine"}),
    ("azure", {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine",
               "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77"}),
    ("digitalocean", {"sys_vendor": "DigitalOcean", "product_name": "Droplet"}),
    ("hetzner", {"sys_vendor": "Hetzner", "product_name": "vServer"}),
    ("oracle", {"sys_vendor": "QEMU", "chassis_asset_tag": "OracleCloud.com"}),
    ("openstack", {"sys_vendor": "OpenStack Foundation", "product_name": "OpenStack Nova"}),
    ("openstack", {"sys_vendor": "RDO", "product_name": "OpenStack Compute"}),
    ("vultr", {"sys_vendor": "Vultr", "product_name": "VC2"}),
    ("akamai", {"sys_vendor": "Linode", "product_name": "Compute Instance"}),
    ("akamai", {"sys_vendor": "Akamai", "product_name": "Compute Instance"}),
    ("scaleway", {"sys_vendor": "Scaleway", "product_name": "SCW-DEV1-S"}),
    ("upcloud", {"sys_vendor": "UpCloud", "product_name": "Server"}),
    ("exoscale", {"sys_vendor": "Exoscale", "product_name": "Exoscale Compute Platform"}),
    ("alibaba", {"sys_vendor": "Alibaba Cloud", "product_name": "Alibaba Cloud ECS"}),
    (None, {}),
    (None, {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine", "chassis_asset_tag": "None"}),
    (None, {"sys_vendor": "Xen", "product_version": "4.17"}),
    (None, {"sys_vendor": "QEMU", "product_name": "Standard PC (Q35 + ICH9, 2009)"}),
    (None, {"sys_vendor": "Oracle Corporation", "product_name": "VirtualBox", "chassis_asset_tag": ""}),
    (None, {"sys_vendor": "Hetzner", "product_name": "Dedicated"}),
    (None, {"sys_vendor": "Dell Inc.", "product_name": "PowerEdge", "bios_version": "2.amazon"}),
    (None, {"sys_vendor": "Google", "product_name": "Chromebook"}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "fields"), MACHINES)
def test_whose_machine_it_is(key: str | None, fields: dict[str, str], tmp_path: Path) -> None:
    assert provider_of(fields) == key
    for name, text in fields.items():
        (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
    assert read_provider(str(tmp_path)) == key


def test_files_that_are_none(tmp_path: Path) -> None:
    assert read_provider(str(tmp_path / "no")) is None
    (tmp_path / "sys_vendor").mkdir()
    (tmp_path / "product_name").write_bytes(b"\xff\xfe\x00" * 100_000)
    assert read_provider(str(tmp_path)) is None
    (tmp_path / "product_name").write_text("OpenStack" + "x" * 10 * MAX_FIELD, encoding="ascii")
    assert read_provider(str(tmp_path)) == "openstack"
