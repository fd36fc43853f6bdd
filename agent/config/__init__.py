"""Read the configuration of plugNmeet, LiveKit, haproxy and docker compose."""
