"""The console: pages for auditors and incident responders."""
