"""ListDimensions: the catalogue's dimensions. It is the same for everyone."""

from __future__ import annotations

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from reporter.question.catalogue import DIMENSIONS
from reporter.rpc.messages import SCOPES


def list_dimensions() -> pb.ListDimensionsResponse:
    """Returns the dimensions in the order of the catalogue."""
    return pb.ListDimensionsResponse(
        dimensions=[
            pb.Dimension(id=dimension.id, scope=SCOPES[dimension.scope], description=dimension.description)
            for dimension in DIMENSIONS.values()
        ]
    )
