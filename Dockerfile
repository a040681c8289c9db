# The image of all services, of Envoy and of the command line: docker build --tag hitmesh:0.1.0 .
# dev/image.sh does all work beyond FROM and COPY, so that tests/integration/test_image.py can do it without Docker.
FROM debian:12-slim AS build
COPY dev/image.sh /opt/image.sh
COPY requirements /source/requirements
COPY pyproject.toml README.md LICENSE /source/
COPY hitmesh /source/hitmesh
COPY collector /source/collector
COPY processor /source/processor
COPY reporter /source/reporter
COPY control /source/control
COPY envoy /source/envoy
RUN ["/opt/image.sh", "build"]

FROM debian:12-slim
COPY dev/image.sh /opt/image.sh
COPY --from=build /usr/local /usr/local
RUN ["/opt/image.sh", "finish"]
USER 10001:10001
