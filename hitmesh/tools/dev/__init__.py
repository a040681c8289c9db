"""Run the mesh on a single machine.

Envoy and the services run as child processes; this package imports no service.
"""
