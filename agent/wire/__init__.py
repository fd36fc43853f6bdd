"""Bytes to values and back, the same for both sides; no file here knows which side it serves."""


class DecodeError(ValueError):
    """The one exception that every decoder of this room raises, whatever bytes it is given."""
