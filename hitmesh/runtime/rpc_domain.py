"""The domain in which our error reasons are unique (google.rpc.ErrorInfo.domain)."""

DOMAIN = "hitmesh.dev"
