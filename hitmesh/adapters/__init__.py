"""Adapters implement the ports of hitmesh.ports on stores. Only this package imports drivers (architecture A13)."""
