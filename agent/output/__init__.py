"""Report to text; events to text and JSON lines: functions that never wait, measure or print."""
