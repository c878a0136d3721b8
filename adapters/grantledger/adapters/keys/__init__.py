"""Keys, sealed values, fingerprints, time and ids: adapters for secrets."""
