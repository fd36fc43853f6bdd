"""Connect to HOST PORT, and print the first bytes that come from there."""

import socket
import sys

print(socket.create_connection((sys.argv[1], int(sys.argv[2]))).recv(5))
