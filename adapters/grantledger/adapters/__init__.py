"""Adapters layer of grantledger."""
