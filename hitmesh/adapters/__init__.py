"""Adapters: the ports of hitmesh.ports on real storage. Only modules in this package import a driver (decision A13)."""
