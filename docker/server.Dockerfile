# amaq-server, the party with the upper blocks and the loss. Build from the root of the repository:
#   docker build -f docker/server.Dockerfile -t amaq-server .
# The build stages of both images are the same lines, so the second one comes from the layer cache.
FROM debian:bookworm AS build
ENV AMAQ_CACHE=/opt/amaq
WORKDIR /src/amaq
# Set-up first: editing the sources does not fetch LibTorch again.
COPY scripts/env.sh scripts/setup.sh scripts/
RUN scripts/setup.sh
COPY . .
RUN cmake --preset release && cmake --build --preset release --target amaq-server amaq-client

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
    libgomp1 libgrpc++1.51 libpcre2-8-0 libprotobuf32 libspdlog1.10 libxxhash0 libyaml-cpp0.7 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /srv/amaq amaq
# The programs find LibTorch by the path they were linked with; of its 1.2 GB they need these.
COPY --from=build /opt/amaq/libtorch-2.15.0/torch/lib/libtorch_cpu.so \
    /opt/amaq/libtorch-2.15.0/torch/lib/libc10.so /opt/amaq/libtorch-2.15.0/torch/lib/
COPY --from=build /opt/amaq/libtorch-2.15.0/nvidia/cu13/lib/libcudart.so.13 \
    /opt/amaq/libtorch-2.15.0/nvidia/cu13/lib/libcupti.so.13 /opt/amaq/libtorch-2.15.0/nvidia/cu13/lib/
COPY --from=build /src/amaq/build/release/src/server/amaq-server /usr/local/bin/
USER amaq
WORKDIR /srv/amaq
EXPOSE 7420
ENTRYPOINT ["amaq-server"]
CMD ["--config", "/srv/amaq/config.yaml"]
