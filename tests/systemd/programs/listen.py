"""Listen on a TCP port and accept nothing. With `stubborn`, ignore SIGTERM; with `interrupted`, end by an exception."""

from __future__ import annotations

import signal
import socket
import sys

if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "interrupted" in sys.argv:  # the first process of a container dies of no signal that it does not handle
    signal.signal(signal.SIGTERM, signal.default_int_handler)
listener = socket.create_server(("", int(sys.argv[1])))
signal.pause()
