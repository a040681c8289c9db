"""One file per RPC of the admin service."""
