"""Say `ready`, and wait; with `stubborn`, whatever SIGTERM asks."""

import signal
import sys
import time

if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
