"""The client library: finds a mesh, provides its gRPC stubs, and sends hits with reconnects after a broken stream.

This package itself imports nothing, so that a command imports grpc and protobuf only with the modules that need them.
"""
