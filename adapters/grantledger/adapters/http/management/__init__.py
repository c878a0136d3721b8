"""Grants looked at, imported and ended over HTTP, for operators and responders."""
