"""The configuration of plugNmeet, LiveKit, haproxy and compose, and the subset of YAML that they use."""
