"""Render reports and events as text and JSON: functions that never wait, measure or print."""
