# syntax=docker/dockerfile:1
# The image of a release: the static binaries that the release has as files, on the base of the Dockerfile. The context
# holds linux-amd64 and linux-arm64. No stage runs a program, so one machine builds the image for all platforms.
ARG RUN_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${RUN_IMAGE}
ARG TARGETOS TARGETARCH
COPY ${TARGETOS}-${TARGETARCH} /linkerd-linger
# nonroot by number, for runAsNonRoot cannot tell what a name means.
USER 65532:65532
EXPOSE 8443 9990
ENTRYPOINT ["/linkerd-linger"]
CMD ["serve", "--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key"]
