"""Code that all layers of tests share: builders, meshes, servers and waiting.

No layer of tests imports another layer.
"""
