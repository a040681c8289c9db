"""Run the mesh on a single machine: Envoy and the services run as child processes. No service is imported."""
