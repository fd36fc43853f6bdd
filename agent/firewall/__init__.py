"""The host's firewall: a reader for each tool, which rules block ports, who wrote them, and what opens the ports.

To add a firewall: a tool that lists rules is read in read.py, a program that writes them in managers.py; it opens ports
in fixes.FIXERS. To add a cloud provider: a row of provider_fixes.PROVIDERS.
"""
