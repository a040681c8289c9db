"""Adapters: the ports of hitmesh.ports over real storage. Only modules in here import a driver (decision A13)."""
