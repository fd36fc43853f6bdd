"""The schedule of UDP probes: passes, pace, loss, limits, flows, samples and large probes."""
