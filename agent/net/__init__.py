"""The edge: the only files that import socket, ssl and selectors."""
