"""The client library: where a mesh is, its stubs, and a sender that survives reconnects.

Imports only grpc and protobuf, and those only when a part that needs them is imported.
"""
