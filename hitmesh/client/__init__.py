"""The client library: finds a mesh, provides gRPC stubs, and sends hits over streams that reconnect.

This file imports nothing, so that a command imports grpc and protobuf only with the modules that need them.
"""
