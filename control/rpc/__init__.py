"""The RPCs of the control service, each in a separate file, in a package for each gRPC service."""
