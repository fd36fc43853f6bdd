"""Play scripts to a server: each is a connection, and sends one text after the answer to the one before."""

from __future__ import annotations

import json
import socket
import sys

for script in json.load(sys.stdin):
    answers = []
    with socket.create_connection((sys.argv[1], 80), 10) as opened:
        try:
            for text in script:
                opened.sendall(text.encode("utf-8", "surrogateescape"))
                answers.append(opened.recv(65536).decode("ascii", "replace"))
        except OSError:  # it was shut
            answers.append("")
    print(json.dumps(answers))
