"""Run the mesh on a single machine: Envoy and the services as child processes. Imports none of the services."""
