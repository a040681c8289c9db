"""The RPCs of ShadowStreamService."""
