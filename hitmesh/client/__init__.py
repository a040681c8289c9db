"""The client library: finding a mesh, gRPC stubs, and a sender that survives reconnects.

Imports only grpc and protobuf, and only when a module that needs them is imported.
"""
