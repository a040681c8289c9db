"""ListDimensions: the catalogue's dimensions, the same for every caller."""

from __future__ import annotations

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from reporter.question.catalogue import DIMENSIONS
from reporter.rpc.messages import SCOPES


def list_dimensions() -> pb.ListDimensionsResponse:
    """Return the dimensions in catalogue order."""
    return pb.ListDimensionsResponse(
        dimensions=[
            pb.Dimension(id=dimension.id, scope=SCOPES[dimension.scope], description=dimension.description)
            for dimension in DIMENSIONS.values()
        ]
    )
