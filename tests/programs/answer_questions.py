"""Answer each kind of question by one line, and no probe."""

from __future__ import annotations

import json
import socket
import sys
import threading

answers = json.loads(sys.argv[1])


def serve(opened: socket.socket) -> None:
    with opened, opened.makefile("rb") as lines:
        for line in lines:
            if line[:1] != b"{":
                return
            opened.sendall(answers.get(json.loads(line)["type"], "").encode())


with socket.create_server(("", 443)) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
