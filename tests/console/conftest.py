"""The story's ledger for pages that a browser opens."""

from tests.incident.conftest import golden, told

__all__ = ["golden", "told"]
