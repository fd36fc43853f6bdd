"""The host's firewall rules: model, a reader for each tool, evaluation, blocking rules, fixes, providers."""
