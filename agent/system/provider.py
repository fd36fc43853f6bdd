"""Whose cloud this machine runs in, by what its firmware says of itself (DMI, as Linux shows it to everybody).

No metadata address is ever asked: that would be a packet to somebody, and another's answer could not be told apart.
"""

from __future__ import annotations

import os
from typing import Callable, Mapping

from .files import read_text

DMI = "/sys/class/dmi/id"
MAX_FIELD = 256  # a string of a firmware is a few words

_FIELDS = ("sys_vendor", "product_name", "product_version", "chassis_asset_tag", "bios_vendor", "bios_version",
           "board_vendor")  # fmt: skip

Fields = Mapping[str, str]


def _is(field: str, *values: str) -> Callable[[Fields], bool]:
    return lambda fields: fields.get(field, "").lower() in [value.lower() for value in values]


def _amazon(fields: Fields) -> bool:
    """Newer machines say `Amazon EC2`; older ones are Xen's, of a version such as `4.11.amazon`."""
    vendors = ("sys_vendor", "bios_vendor", "board_vendor")
    versions = ("bios_version", "product_version")
    return any(fields.get(one) == "Amazon EC2" for one in vendors) or (
        fields.get("sys_vendor") == "Xen" and any("amazon" in fields.get(one, "") for one in versions)
    )


# The first that fits decides. Microsoft's and Oracle's names are on machines and hypervisors that anybody may own:
# only their clouds' tags say where those run. The makers of the rest put a name on nothing but their cloud's machines.
_PROVIDERS: tuple[tuple[str, Callable[[Fields], bool]], ...] = (
    ("oracle", _is("chassis_asset_tag", "OracleCloud.com")),
    ("azure", _is("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")),
    ("aws", _amazon),
    ("google", _is("product_name", "Google Compute Engine")),
    ("digitalocean", _is("sys_vendor", "DigitalOcean")),
    ("hetzner", lambda fields: fields.get("sys_vendor") == "Hetzner" and fields.get("product_name") == "vServer"),
    ("vultr", _is("sys_vendor", "Vultr")),
    ("akamai", _is("sys_vendor", "Linode", "Akamai")),
    ("scaleway", _is("sys_vendor", "Scaleway")),
    ("upcloud", _is("sys_vendor", "UpCloud")),
    ("exoscale", _is("sys_vendor", "Exoscale")),
    ("alibaba", lambda fields: fields.get("product_name", "").startswith("Alibaba Cloud")),
    ("openstack", lambda fields: fields.get("product_name", "").startswith("OpenStack")),
)


def provider_of(fields: Fields) -> str | None:
    """The provider's key, by the texts of the DMI files; None for a machine of one's own."""
    return next((key for key, fits in _PROVIDERS if fits(fields)), None)


def read_provider(root: str = DMI) -> str | None:
    """Whose cloud this machine runs in; None where it says nothing, as in many containers, and elsewhere than Linux."""
    return provider_of({field: read_text(os.path.join(root, field), MAX_FIELD).strip() for field in _FIELDS})
