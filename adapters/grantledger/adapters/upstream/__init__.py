"""Everything that speaks to an authorization server: bounded, never redirected."""
