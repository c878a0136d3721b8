"""Projections layer of grantledger."""
