"""Send everybody to a login page, also by HTTPS, with a certificate of its own."""

from __future__ import annotations

import http.server
import ssl
import sys
import threading


class Portal(http.server.BaseHTTPRequestHandler):
    protocol_version, server_version, sys_version = "HTTP/1.1", "hotspot", ""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://login.example/?from=" + self.path)
        self.send_header("Connection", "keep-alive")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


plain, secure = (http.server.ThreadingHTTPServer(("", port), Portal) for port in (8080, 8443))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
secure.socket = context.wrap_socket(secure.socket, server_side=True)
threading.Thread(target=plain.serve_forever, daemon=True).start()
print("ready", flush=True)
secure.serve_forever()
