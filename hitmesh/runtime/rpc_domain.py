"""The domain in which hitmesh error reasons are unique (google.rpc.ErrorInfo.domain)."""

DOMAIN = "hitmesh.dev"
