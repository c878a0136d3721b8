"""The main job on a fresh ledger, against the bundled development server."""
