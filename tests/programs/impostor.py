"""Say these lines to whoever says hello, one for each line of the client's.

ECHO is the client's own line; of one that begins with SEAL the rest is signed, with a key of the impostor's own.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from agent.protocol import pairing

script = json.loads(sys.argv[1])
seals = pairing.RecordAuthenticator(bytes(32), bytes(32))


def serve(opened: socket.socket) -> None:
    with opened:
        for text in script:
            said = opened.recv(65536)
            if said[:1] in (b"", b"\x16"):
                return
            line = text.encode()
            opened.sendall(said if text == "ECHO" else seals.sign(line[4:]) if text[:4] == "SEAL" else line)
        opened.recv(65536)


with socket.create_server(("", 443)) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
