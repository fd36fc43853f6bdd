"""What the operating system tells: its tools, files, settings, counters, processes, ports, interfaces, firmware."""
