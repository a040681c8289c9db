"""Spellings of REST paths that must lead neither to another merchant nor past the check of tokens."""

from __future__ import annotations

TO_RIVAL = (
    "/v1/merchants/demo/sites/../../rival/sites/shop",
    "/v1/merchants/demo/%2e%2e/rival/sites/shop",
    "/v1/merchants/demo/%2E./rival/sites/shop",
    "/v1/merchants/demo/..%5crival/sites/shop",
    "/v1/merchants/demo/..\\rival/sites/shop",
    "/v1//merchants//rival//sites//shop",
    "/v1/merchants/demo%2F..%2Frival/sites/shop",
    "/v1/merchants/rival%2fsites%2fshop",
    "/v1/merchants/demo/sites/%252e%252e/%252e%252e/rival/sites/shop",
    "/v1/./merchants/rival/sites/shop",
    "/v1/merchants/rival/sites/shop?",
    "/v1/merchants/rival/sites/shop#/v1/merchants/demo/sites/shop",
    "/v1/merchants/rival/sites/shop;/../../demo/sites/shop",
    "/v1/merchants/rival/sites/shop%00",
    "http://localhost/v1/merchants/rival/sites/shop",
)
TO_OWN = (
    "/v1/metrics/../merchants/demo/sites/shop",
    "/v1/metrics/%2e%2e/merchants/demo/sites/shop",
    "/v1/metrics/..%2fmerchants/demo/sites/shop",
    "/v1/metrics/..%5cmerchants/demo/sites/shop",
    "/v1/metrics\\..\\merchants/demo/sites/shop",
    "/v1/hits:send/../merchants/demo/sites/shop",
    "/v1/hits:send;/../merchants/demo/sites/shop",
    "//v1/merchants/demo/sites/shop",
    "/v1/merchants/demo/sites/shop?/v1/metrics",
    "/v1/merchants/demo/sites/shop#/v1/metrics",
    "/v1/merchants/demo/sites/shop%00/v1/metrics",
    "/v1/merchants/demo/sites/%73hop",
    "/%76%31/merchants/demo/sites/shop",
    "/V1/merchants/demo/sites/shop",
    "/hitmesh.api.reporter.v1.ReporterService/ListMetrics/../RunReport",
    "/hitmesh.api.reporter.v1.ReporterService/ListMetrics%2f..%2fRunReport",
    "http://localhost/v1/merchants/demo/sites/shop",
    "http://localhost/v1/metrics/../merchants/demo/sites/shop",
)
