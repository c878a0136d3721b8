"""The HTTP service: hand-outs to authenticated callers, and probes."""
