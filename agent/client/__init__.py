"""The check: control channel, TCP ports, UDP sweep, services, traceroute."""
