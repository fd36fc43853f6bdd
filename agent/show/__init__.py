"""Words for people and lines for programs: functions from values to text, which never wait, measure or print."""
