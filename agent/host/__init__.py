"""What this machine is: who owns its ports, what it limits, what programs it has."""


class UnreadableRules(Exception):
    """What a firewall's tool printed is no listing of rules."""
