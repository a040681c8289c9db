"""Runs the mesh on one machine: Envoy and the services as child processes. Imports none of the services."""
