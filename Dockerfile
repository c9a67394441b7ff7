# alcca-server as an image: targets `cpu` (the default, with the embedded model) and `cuda`.
#
#   docker build -t alcca .
#   docker run --read-only -p 50051:50051 -p 9090:9090 alcca
#   docker build -t alcca:cuda --target cuda .
#   docker run --read-only --gpus all -v /srv/model:/m:ro -p 50051:50051 alcca:cuda --model /m
#
# deploy/container/build_image.sh runs this file without a Docker engine. What is inside the image,
# and how to be sure of it: docs/install.md.

ARG DEBIAN_IMAGE=debian:12-slim
# Its toolkit is all that is taken from it: it compiles and runs on Debian 12.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-devel-ubuntu22.04

# --- What the build needs: the same list as on a developer's machine.
FROM ${DEBIAN_IMAGE} AS packages
WORKDIR /src
COPY tools/setup.sh tools/packages.txt tools/
RUN tools/setup.sh && rm -rf /var/lib/apt/lists/*

# --- Build, then lay out the runtime root in /image.
FROM packages AS build-cpu
COPY . .
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/root/.cache/ccache \
    cmake --preset release -DBUILD_TESTING=OFF -DALCCA_BENCH=OFF \
 && cmake --build build/release -j"$(nproc)" \
 && deploy/container/assemble_root.py build/release /image

FROM ${CUDA_IMAGE} AS cuda-toolkit

FROM packages AS build-cuda
COPY --from=cuda-toolkit /usr/local/cuda /usr/local/cuda
ENV PATH=/usr/local/cuda/bin:${PATH}
COPY . .
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/root/.cache/ccache \
    cmake --preset cuda -DBUILD_TESTING=OFF -DALCCA_BENCH=OFF \
 && cmake --build build/cuda -j"$(nproc)" \
 && deploy/container/assemble_root.py build/cuda /image

# --- What both images say of themselves. No shell, no package manager, nothing to write to.
FROM scratch AS runtime
LABEL org.opencontainers.image.title="alcca-server" \
      org.opencontainers.image.description="Inference daemon with adjustable attention" \
      org.opencontainers.image.licenses="MIT"
USER 65532:65532
WORKDIR /
EXPOSE 50051 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15m --retries=3 \
  CMD ["/usr/bin/alcca", "health", "--timeout", "2"]
# The file says: listen on all addresses. Flags after it win; another file may be mounted over it.
ENTRYPOINT ["/usr/bin/alccad", "--config", "/etc/alcca/alccad.yaml"]

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /image /

FROM runtime AS cpu
COPY --from=build-cpu /image /
