"""Ask a server all that a client without a key can ask; write the lines that come back."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.core.plan import Transport
from agent.protocol import messages

opened = socket.create_connection((sys.argv[1], 7881), 10)
lines = opened.makefile()


def ask(message: Any) -> Any:
    opened.sendall(message if isinstance(message, bytes) else messages.encode(message))
    print(lines.readline(), end="")


ask(b'{"type":"hello","protocol":3,"program":"0.1.0","family":"ipv4","nonce":null}\n')
for about in messages.PortTable:
    for transport in Transport:
        for start in (1, 65535):
            ask(messages.AskRows(about, transport, start))
ask(messages.AskKernel())
ask(messages.Bye())
