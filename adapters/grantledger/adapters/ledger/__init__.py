"""The ledger: events, leaves, rows and journal in one SQLite file."""
