"""Sockets that both sides use: addresses, TLS, connects, resolving, ICMP errors."""
