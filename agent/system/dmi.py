"""Read what this machine's firmware says of itself (DMI), as Linux shows it to everybody."""

from __future__ import annotations

import os

from .files import read_text

DMI = "/sys/class/dmi/id"
MAX_FIELD = 256  # a string of a firmware is a few words

_FIELDS = ("sys_vendor", "product_name", "product_version", "chassis_asset_tag", "bios_vendor", "bios_version",
           "board_vendor")  # fmt: skip


def read_dmi(root: str = DMI) -> dict[str, str]:
    """Return the texts of some fields, by name; empty where there are none, as in many containers, and not on Linux."""
    return {field: read_text(os.path.join(root, field), MAX_FIELD).strip() for field in _FIELDS}
