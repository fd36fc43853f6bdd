"""Decide each port's state, where it is blocked and why, and the verdict; say what to do about it."""
