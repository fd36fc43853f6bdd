"""Cut a stream into messages: packets behind two bytes of length (RFC 4571), and lines."""

from __future__ import annotations

import struct

from ..core.errors import DecodeError

LENGTH = struct.Struct("!H")
# A line has to hold a plan or a page of sightings, and nobody must make the other side keep more.
MAX_LINE = 64 * 1024


def frame(packet: bytes) -> bytes:
    """Return a packet behind its length, as in RFC 4571; at most 65,535 bytes."""
    return LENGTH.pack(len(packet)) + packet


class Frames:
    """Cuts RFC 4571 frames out of a stream that comes in any pieces."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are whole now; DecodeError where one says that it is longer than `most` bytes."""
        stream, start, whole = self._buffer + data, 0, []
        while start + LENGTH.size <= len(stream):
            size: int = LENGTH.unpack_from(stream, start)[0]
            if size > self._most:
                raise DecodeError("a frame too long")
            end = start + LENGTH.size + size
            if end > len(stream):
                break
            whole.append(stream[start + LENGTH.size : end])
            start = end
        self._buffer = stream[start:]
        return whole


class Lines:
    """Cuts lines of up to `most` bytes, which may be changed, out of a stream that comes in any pieces."""

    def __init__(self, most: int = MAX_LINE) -> None:
        self.most = most
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now, without their ends; DecodeError where one is longer than `most`."""
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        if any(len(line) > self.most for line in (*whole, self._buffer)):
            raise DecodeError("a line too long")
        return whole
