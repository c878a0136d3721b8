"""A ledger copied from a file to a schema, and its file closed."""
