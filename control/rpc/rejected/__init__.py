"""RejectedHitService: a module per RPC."""
