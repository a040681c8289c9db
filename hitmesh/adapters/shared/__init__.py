"""Code that the adapters of several stores share, so that their results cannot differ."""
