"""The RPCs of RejectedHitService, each in a separate file."""
