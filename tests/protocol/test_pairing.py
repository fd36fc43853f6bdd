"""The pairing key: how it is made and read, what comes from it, and the lines that it seals."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import DecodeError
from agent.protocol import pairing
from agent.protocol.pairing import RecordAuthenticator, expand, extract, make_key, read_key

# Limits, by their numbers: who changes one changes it here too.
KEY_BYTES = 17
MOST_CHARACTERS = 200

DRAWN = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
KEY = make_key(bytes(range(KEY_BYTES)))
PLACES = [place for place, char in enumerate(KEY) if char != "-"]


@given(DRAWN)
def test_a_made_key_is_read_however_it_is_written(drawn: bytes) -> None:
    key = make_key(drawn)
    assert [len(group) for group in key.split("-")] == [4] * 7
    misread = key.replace("1", "l").replace("0", "O")
    for written in (key, key.upper(), f"  {key}\n", key.replace("-", ""), key.replace("-", " "), misread,
                    key.replace("-", "\u2013"), misread.upper()):  # fmt: skip
        assert read_key(written) == key


def test_a_made_key_has_all_its_chance() -> None:
    assert make_key(bytes(KEY_BYTES)) == "0000-0000-0000-0000-0000-0000-0000"
    assert make_key(b"\xff" * KEY_BYTES).startswith("zzzz-zzzz-zzzz-zzzz-zzzz-zzzz-zz")
    assert len({make_key(bytes([byte, *bytes(KEY_BYTES - 1)])) for byte in range(4)}) == 4  # two bits of the first
    assert len({make_key(bytes([*bytes(KEY_BYTES - 1), byte])) for byte in range(256)}) == 256


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_digit_is_told(place: int) -> None:
    for digit in set(DIGITS + "u!") - {KEY[place]}:
        with pytest.raises(DecodeError, match="a digit of it is wrong"):
            read_key(KEY[:place] + digit + KEY[place + 1 :])
    for digit in set(DIGITS) - {KEY[place]}:  # of the length and the digits of a made key, nobody's own has to be
        with pytest.raises(DecodeError, match="28 of 28"):
            read_key((KEY[:place] + digit + KEY[place + 1 :]).replace("-", ""))


@given(DRAWN, st.integers(0, 26))
def test_two_digits_that_changed_places_are_told(drawn: bytes, first: int) -> None:
    digits = make_key(drawn).replace("-", "")
    swapped = digits[:first] + digits[first + 1] + digits[first] + digits[first + 2 :]
    if swapped != digits:
        with pytest.raises(DecodeError):
            read_key("-".join(swapped[at : at + 4] for at in range(0, 28, 4)))


@pytest.mark.parametrize("place", PLACES)
def test_a_digit_too_few_or_too_many_is_told(place: int) -> None:
    for written in (KEY[:place] + KEY[place + 1 :], KEY[:place] + "7" + KEY[place:]):
        with pytest.raises(DecodeError, match=r"2[79] of 28"):
            read_key(written)


@pytest.mark.parametrize(
    "own",
    ["x" * 20, "correct horse battery staple", "test-key-with-20-chars-x", "0123456789abcdefghjkmnpqrst", "käse" * 5,
     "123e4567-e89b-42d3-a456-426614174000", "y" * MOST_CHARACTERS],
)  # fmt: skip
def test_a_key_of_ones_own(own: str) -> None:
    assert read_key(own) == own
    assert read_key(f" {own}\n") == own


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 characters"),
        ("x" * 19, "19 characters, not 20 to 200"),
        ("x" * (MOST_CHARACTERS + 1), "201 characters"),
        ("x" * 20 + "\0", "nobody can see"),
        ("x" * 20 + "\x1b[31m" + "x", "nobody can see"),
        (KEY[:-5], "24 of 28"),
        (KEY[5:], "24 of 28"),
    ],
)
def test_what_is_no_key(text: str, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        read_key(text)


def test_hkdf_as_its_rfc_has_it() -> None:
    # RFC 5869, appendix A.1 and A.3: the first 32 bytes of the output.
    key = extract(bytes(range(13)), b"\x0b" * 22)
    assert key.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    info = bytes(range(0xF0, 0xFA))
    assert expand(key, info).hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    assert expand(extract(b"", b"\x0b" * 22), b"").hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    )


def test_everything_that_goes_into_the_keys_changes_all_of_them() -> None:
    inputs = [
        (KEY, b"hello\n", b"challenge\n"),
        (KEY, b"challenge\n", b"hello\n"),
        (KEY, b"hello\n", b"challenges\n"),
        (KEY, b"hellos\n", b"challenge\n"),
        ("x" * 20, b"hello\n", b"challenge\n"),
    ]
    made = [pairing.derive(*one) for one in inputs]
    assert len({part for keys in made for part in (keys.client, keys.server, keys.secret.encode())}) == 3 * len(made)


def ends() -> tuple[RecordAuthenticator, RecordAuthenticator]:
    return RecordAuthenticator(b"client", b"server"), RecordAuthenticator(b"server", b"client")


@given(st.lists(st.tuples(st.booleans(), st.binary().filter(lambda line: b"\n" not in line))))
def test_sealed_lines_are_opened_in_their_order(said: list[tuple[bool, bytes]]) -> None:
    sides = ends()
    for by, line in said:
        speaker, hearer = sides[by], sides[not by]
        sealed = speaker.sign(line + b"\n")
        assert sealed.endswith(line + b"\n")
        assert hearer.verify(sealed[:-1]) == line
        assert hearer.peer_verified


def test_a_line_that_was_changed_repeated_left_out_or_sent_back_is_told() -> None:
    client, server = ends()
    first, second = (client.sign(line)[:-1] for line in (b"first\n", b"second\n"))
    for line in (second, first[:-1], first + b"x", b"", first[64:], b"0" * 64 + b"first"):
        with pytest.raises(DecodeError):
            server.verify(line)
    assert not server.peer_verified
    assert server.verify(first) == b"first"
    for line in (first, client.sign(b"third\n")[:-1], server.sign(b"second\n")[:-1]):
        with pytest.raises(DecodeError):
            server.verify(line)
    assert server.verify(second) == b"second"
    with pytest.raises(DecodeError):
        client.verify(client.sign(b"mine\n")[:-1])


@given(st.binary(max_size=300), st.text(max_size=300))
def test_any_bytes(line: bytes, text: str) -> None:
    with pytest.raises(DecodeError):
        ends()[0].verify(line)
    with contextlib.suppress(DecodeError):
        assert read_key(read_key(text)) == read_key(text)
