"""What this machine is: who owns its ports, what it limits, what programs it has."""
