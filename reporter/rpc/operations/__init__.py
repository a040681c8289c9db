"""One file per RPC of the operations service."""
