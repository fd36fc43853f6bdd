"""Run, and listen on nothing."""

import signal

signal.pause()
