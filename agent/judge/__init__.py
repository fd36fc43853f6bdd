"""Decisions: no I/O, no clock, no random numbers here; bytes, values and `now` come in, bytes and values go out."""
