"""Names in certificates that the openssl program made, and in what is no certificate."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import DecodeError
from agent.packet.x509 import Names, names, validity
from tests.core.values import ANY
from tests.lab import need

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def openssl(*arguments: str | Path, folder: Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, input=stdin).stdout


def self_signed(folder: Path, subject: str, *more: str) -> bytes:
    return openssl("req", "-x509", *CURVE, "-keyout", "key", "-utf8", "-subj", subject, "-outform", "DER", *more,
                   folder=folder)  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ("/CN=pnmcheck", Names("pnmcheck", "pnmcheck")),
        ("/C=US/O=Example Inc/CN=meet.example", Names("meet.example", "Example Inc")),
        ("/C=US/O=Example Inc", Names("Example Inc", "Example Inc")),
        ("/C=US", Names("US", "US")),
        ("/CN=bücher.example", Names("b?cher.example", "b?cher.example")),
        ("/CN=a\x1b[2Jb", Names("a?[2Jb", "a?[2Jb")),
        ("/O=" + "x" * 64, Names("x" * 60, "x" * 60)),
        ("/CN=one/CN=other", Names("one", "one")),
        ("/O=Two+CN=values", Names("values", "Two")),
        ("/", Names("", "")),
    ],
)
def test_whose_it_is(tmp_path: Path, subject: str, found: Names) -> None:
    need("openssl")
    more = ("-multivalue-rdn",) if "+" in subject else ()
    assert names(self_signed(tmp_path, subject, *more)) == found


def test_who_issued_it(tmp_path: Path) -> None:
    need("openssl")
    ca = ("-subj", "/O=Zscaler Inc./CN=Intermediate", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-x509", *CURVE, *ca, folder=tmp_path)
    asked = openssl("req", "-new", *CURVE, "-keyout", "key", "-subj", "/CN=meet.example", folder=tmp_path)
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1", "-outform", "DER")
    # Without extensions it is of X.509's first version, which has no field for the version.
    made = openssl("x509", "-req", *signing, folder=tmp_path, stdin=asked)
    assert names(made) == Names("meet.example", "Zscaler Inc.")


@pytest.mark.parametrize(
    ("alternative", "subject"),
    [
        ("DNS:meet.example,DNS:other.example", "meet.example"),
        ("IP:192.0.2.1,DNS:meet.example", "meet.example"),
        ("IP:192.0.2.1", ""),
    ],
)
def test_the_subject_is_among_the_alternative_names(tmp_path: Path, alternative: str, subject: str) -> None:
    need("openssl")
    made = self_signed(tmp_path, "/", "-addext", f"subjectAltName={alternative}")
    assert names(made) == Names(subject, "")
    named = self_signed(tmp_path, "/CN=first", "-addext", f"subjectAltName={alternative}")
    assert names(named) == Names("first", "first")


def item(tag: int, *content: bytes) -> bytes:
    data = b"".join(content)
    size = len(data).to_bytes(2, "big").lstrip(b"\0") if len(data) > 127 else b""
    return bytes((tag, 0x80 | len(size))) + size + data if size else bytes((tag, len(data))) + data


def name(tag: int, text: bytes, kind: bytes = b"\x55\x04\x03") -> bytes:
    return item(0x30, item(0x31, item(0x30, item(6, kind), item(tag, text))))


EMPTY = item(0x30)
NOBODY = (item(2, b"\1"), EMPTY, EMPTY, EMPTY)


def certificate(*fields: bytes) -> bytes:
    return item(0x30, item(0x30, *fields), EMPTY, item(3, b"\0"))


@pytest.mark.parametrize(
    ("tag", "text", "found"),
    [
        (0x0C, "für".encode(), "f?r"),
        (0x13, b"plain", "plain"),
        (0x14, b"f\xfcr", "f?r"),
        (0x1E, "wide".encode("utf-16-be"), "wide"),
        (0x1E, b"odd", "??"),
        (0x1C, "wider".encode("utf-32-be"), "wider"),
        (0x1C, b"\xff\xff\xff\xff", "?"),
        (0x02, b"\1", ""),
    ],
)
def test_kinds_of_strings(tag: int, text: bytes, found: str) -> None:
    assert names(certificate(*NOBODY, name(tag, text), EMPTY)).subject == found


def extensions(*values: bytes) -> bytes:
    return item(0xA3, item(0x30, *values))


GOOD = certificate(*NOBODY, name(12, b"x" * 200), EMPTY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        GOOD[:-1],
        GOOD + b"\0\0",
        b"\x31" + GOOD[1:],
        b"\x30\x80" + GOOD[2:] + b"\0\0",
        b"\x30\x84\0\0" + GOOD[2:],
        b"\x30\x81\x05" + b"\2\1\1\5\0",
        certificate(*NOBODY[:3], b"\x30\x81\x05" + bytes(5), EMPTY, EMPTY),
        certificate(*NOBODY[:3], b"\x30\x82\x00\x80" + bytes(128), EMPTY, EMPTY),
        b"\x3f" + GOOD[1:],
        b"\x1f\x81\x80" + b"\0" * 128,
        item(0x30, item(0x30, *NOBODY, EMPTY, EMPTY)),
        certificate(*NOBODY, EMPTY),
        certificate(item(0xA0, b"\2\1\2"), *NOBODY, EMPTY),
        certificate(*NOBODY, item(0x31), EMPTY),
        certificate(*NOBODY, item(0x30, EMPTY), EMPTY),
        certificate(*NOBODY, item(0x30, item(0x31, item(0x30, item(6, b"\x55")))), EMPTY),
        certificate(*NOBODY, item(0x30, item(0x31, item(0x30, EMPTY, EMPTY))), EMPTY),
        certificate(*NOBODY, EMPTY, EMPTY, item(0xA3)),
        certificate(*NOBODY, EMPTY, EMPTY, extensions(item(0x30, item(6, b"\x55\x1d\x11")))),
        certificate(*NOBODY, EMPTY, EMPTY, extensions(item(0x30, item(6, b"\x55\x1d\x11"), EMPTY))),
        b"\x30\x83\x01\x00\x00" + b"\0" * 65536,
    ],
)
def test_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(DecodeError):
        names(data)


def test_a_certificate_too_long() -> None:
    padding = item(0xA1, b"\0" * 40000), item(0xA2, b"\0" * 20000)
    assert names(certificate(*NOBODY, name(12, b"x"), EMPTY, *padding)).subject == "x"
    with pytest.raises(DecodeError, match="too long"):
        names(bytes(65_537))


def test_extensions_that_say_nothing_of_names() -> None:
    other = extensions(item(0x30, item(6, b"\x55\x1d\x0f"), item(4, b"\0")))
    assert names(certificate(*NOBODY, EMPTY, EMPTY, other)) == Names("", "")


@ANY
@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    sound = bytearray(GOOD)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(sound) - 1), st.integers(0, 255)), max_size=4)):
        sound[at] = byte
    for candidate in (bytes(sound), data.draw(st.binary(max_size=60))):
        try:
            found = names(candidate)
        except DecodeError:
            continue
        assert all(text.isascii() and text.isprintable() for text in (found.subject, found.issuer))


def test_until_when_and_for_which_names(tmp_path: Path) -> None:
    need("openssl")
    name_of_253 = ".".join(["x" * 62] * 4) + ".y"
    made = self_signed(tmp_path, "/CN=x", "-addext", f"subjectAltName=DNS:meet.example,IP:192.0.2.1,DNS:{name_of_253}")
    until, named = validity(made)
    assert abs(until - time.time() - 2 * 86_400) < 60
    assert named == ("meet.example", name_of_253)


@pytest.mark.parametrize(
    ("tag", "text", "until"),
    [
        (0x17, b"700101000000Z", 0),
        (0x17, b"491231235959Z", 2_524_607_999),
        (0x17, b"500101000000Z", -631_152_000),
        (0x18, b"20500101000000Z", 2_524_608_000),
        (0x18, b"99991231235959Z", 253_402_300_799),  # of those that have no end (section 4.1.2.5)
        (0x17, b"7001010000Z", None),
        (0x17, b"700101000000+0000", None),
        (0x17, b"20500101000000Z", None),
        (0x18, b"00000101000000Z", None),
        (0x17, b"701301000000Z", None),
        (0x17, "\u0667\u0660".encode(), None),
        (0x0C, b"700101000000Z", None),
    ],
)
def test_times(tag: int, text: bytes, until: int | None) -> None:
    made = certificate(*NOBODY[:3], item(0x30, item(tag, b""), item(tag, text)), EMPTY, EMPTY)
    if until is not None:
        assert validity(made) == (until, ())
        return
    with pytest.raises(DecodeError):
        validity(made)


def test_a_certificate_without_times() -> None:
    for broken in (GOOD, certificate(*NOBODY[:3], item(0x31), EMPTY, EMPTY)):
        with pytest.raises(DecodeError):
            validity(broken)
