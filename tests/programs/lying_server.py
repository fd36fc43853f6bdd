"""Answer each line by the next of these texts, and by the last one again and again.

`null` closes, and NEXT is the number of the text, which takes its time. Of two texts the second answers the question
about the kernel.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

script = json.loads(sys.argv[1])


def serve(opened: socket.socket) -> None:
    with opened:
        for number in range(10**9):
            question = opened.recv(65536)
            if question[:1] in (b"", b"\x16"):
                return
            text = script[min(number, len(script) - 1)]
            if isinstance(text, list):
                text = text[b"ask-kernel" in question]
            if text is None:
                return
            if "NEXT" in text:
                time.sleep(0.02)
            text = text.replace("NEXT", str(number + 1))
            if text.startswith("DRIP"):
                while True:
                    opened.sendall(text[4:].encode())
                    time.sleep(0.1)
            opened.sendall(text.encode("utf-8", "surrogateescape"))
            while text and not text.endswith("\n"):
                opened.sendall(text.encode() * 1000)


with socket.create_server(("", 443)) as listener:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
