from __future__ import annotations

from typing import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import DecodeError
from agent.protocol import first_bytes
from agent.protocol.first_bytes import StreamProtocol
from agent.protocol.framing import Frames, Lines, frame
from tests.core.values import ANY

STREAMS = st.lists(st.binary(max_size=20), max_size=5)


def cuts(stream: bytes) -> Iterator[list[bytes]]:
    """A stream whole, byte by byte, and in two pieces cut anywhere."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    for at in range(len(stream) + 1):
        yield [stream[:at], stream[at:]]


@ANY
@given(STREAMS, st.binary(max_size=20))
def test_frames_come_out_however_the_stream_is_cut(packets: list[bytes], more: bytes) -> None:
    unfinished = frame(more)[:-1]
    for pieces in cuts(b"".join(map(frame, packets)) + unfinished):
        frames = Frames(most=20)
        assert [packet for piece in pieces for packet in frames.feed(piece)] == packets
        assert frames.feed(frame(more)[-1:]) == [more]


@ANY
@given(STREAMS, st.binary(max_size=20))
def test_lines_come_out_however_the_stream_is_cut(texts: list[bytes], more: bytes) -> None:
    *whole, more = [text.replace(b"\n", b"") for text in (*texts, more)]
    for pieces in cuts(b"".join(line + b"\n" for line in whole) + more):
        lines = Lines()
        assert [line for piece in pieces for line in lines.feed(piece)] == whole
        assert lines.feed(b"\n") == [more]


def test_a_frame_too_long_is_refused_by_its_length_alone() -> None:
    assert Frames(most=300).feed(frame(bytes(300))) == [bytes(300)]
    for refused in (b"\x01\x2d", b"\xff\xff", frame(b"good") + b"\x01\x2d"):
        with pytest.raises(DecodeError):
            Frames(most=300).feed(refused)


@pytest.mark.parametrize("end", [b"", b"\n", b"\nmore\n"])
def test_a_line_too_long_is_refused_whole_or_not(end: bytes) -> None:
    Lines().feed(bytes(65_536) + end)
    with pytest.raises(DecodeError):
        Lines().feed(bytes(65_537) + end)


def test_what_a_line_leaves_behind_counts_towards_the_next() -> None:
    lines = Lines()
    lines.feed(bytes(65_536))
    with pytest.raises(DecodeError):
        lines.feed(b"x")


@pytest.mark.parametrize(
    ("start", "speech"),
    [
        (b"\x16\x03\x01", StreamProtocol.TLS),
        (b"GET / HTTP/1.1", StreamProtocol.HTTP),
        (b"PROPFIND /", StreamProtocol.HTTP),
        (b'{"type":"hello"}', StreamProtocol.CONTROL),
        (b"\0\x5c\0\1", StreamProtocol.FRAMED_STUN),
        (b"\x04\xd0", StreamProtocol.FRAMED_STUN),
    ],
)
def test_the_first_byte_tells_what_is_spoken(start: bytes, speech: StreamProtocol) -> None:
    assert first_bytes.detect_protocol(start) is speech
    assert first_bytes.detect_protocol(start[:1]) is speech


@pytest.mark.parametrize("start", [b"\n", b" {", b"[1]", b"get /", b"@", b"\x15\x03", b"\x05\0", b"\x80", b"\xff"])
def test_what_nobody_here_speaks(start: bytes) -> None:
    with pytest.raises(DecodeError):
        first_bytes.detect_protocol(start)
