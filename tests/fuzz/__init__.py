"""Whatever bytes come in: every decoder gives a value, or its one exception, in bounded time and memory."""
