"""Hold 443 of both transports, as Docker's proxy of a container does; the process id is in the file `pid`, here."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

tcp, udp = socket.create_server(("", 443)), socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("", 443))
Path("pid").write_text(str(os.getpid()), encoding="ascii")
signal.pause()
