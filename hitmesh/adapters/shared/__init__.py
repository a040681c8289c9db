"""Code that the adapters of several stores share, so that all stores return the same results."""
