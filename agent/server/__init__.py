"""Sessions, answers, listeners, the event loop, the capture, and the helper that keeps root."""
