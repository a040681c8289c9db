"""The client library: how to find a mesh, gRPC stubs, and a sender that reconnects after a broken stream.

This package itself imports nothing, so that a command imports grpc and protobuf only with the modules that need them.
"""
