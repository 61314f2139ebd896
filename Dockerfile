# syntax=docker/dockerfile:1
# A static binary and nothing else. The bases are arguments, for those who mirror them.
ARG BUILD_IMAGE=docker.io/library/rust:1.95.0-alpine
ARG RUN_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
# ring and jemalloc compile C and assembly.
# hadolint ignore=DL3018
RUN apk add --no-cache make musl-dev
WORKDIR /src
COPY . .
# Alpine's host target is musl, which links statically. rust-toolchain.toml stays outside: the image has that version.
RUN cargo build --profile dist --features jemalloc --locked --bin linkerd-linger

FROM ${RUN_IMAGE}
COPY --from=build /src/target/dist/linkerd-linger /linkerd-linger
# nonroot by number, for runAsNonRoot cannot tell what a name means.
USER 65532:65532
EXPOSE 8443 9990
ENTRYPOINT ["/linkerd-linger"]
CMD ["serve", "--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key"]
