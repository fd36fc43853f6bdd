"""Check the ports of a WebRTC server from outside."""

__version__ = "0.2.0"
