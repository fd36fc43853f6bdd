"""Ask STUN servers and DNS about this host, as the server does, and print the answers as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.core.address import Family
from agent.server.outside import ask_outside

servers, domains, routes = json.loads(sys.argv[1])
one = ask_outside(servers, domains, tuple(map(Family, routes)))
print(
    json.dumps(
        {
            "unresolved": one.unresolved,
            "egress": None
            if one.egress is None
            else {family.value: str(address) for family, address in one.egress.items()},
            "records": {name: found and list(map(str, found)) for name, found in (one.dns_records or {}).items()},
        }
    )
)
