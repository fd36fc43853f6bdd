"""The operating system's own: commands, files, counters, limits, privileges, port owners, interfaces, provider."""
