"""Domain layer of grantledger."""
