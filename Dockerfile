# The image of Postern, a mail relay appliance.
#
#   make image            or:  DOCKER_BUILDKIT=1 docker build -t postern .
#
# BuildKit is required (the cache mounts below); Docker 20.10 has it behind DOCKER_BUILDKIT=1, newer
# ones by default. There is deliberately no `# syntax=` line: it would make every build fetch a
# third image, the syntax front end, and the one inside the engine can do all that is used here.

# ---------------------------------------------------------------------------------------- build --
FROM rust:1.95-bookworm AS build

# The TLS library (aws-lc) is C inside and wants a compiler and cmake. Whatever the base image has
# already is not installed again.
RUN if ! command -v cc || ! command -v c++ || ! command -v cmake || ! command -v make; then \
        apt-get update \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends gcc g++ libc6-dev make cmake \
        && rm -rf /var/lib/apt/lists/*; \
    fi

ENV CARGO_HOME=/usr/local/cargo CARGO_TERM_COLOR=never
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY appliance appliance
COPY src src

# Downloads and compiled dependencies live in caches of the builder, not in layers, so a change of
# our own code recompiles our own code only. Cargo decides by time stamps what is fresh; sources that
# are older than the cache (another branch, another clone) would look fresh, so they are touched.
RUN --mount=type=cache,id=postern-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=postern-target,target=/src/target,sharing=locked \
    find src appliance -type f -exec touch {} + \
    && cargo build --locked --release --bin postern \
    && install -D -m 755 target/release/postern /out/usr/bin/postern

# ------------------------------------------------------------------------------------------ run --
FROM debian:bookworm-slim

# /data            any uid may use a fresh volume. A new named volume takes owner and mode of this
#                  directory, and `--user 12345`, or the random uid that some platforms assign, must
#                  be able to queue mail in it without anybody's chown. Sticky as /tmp is: who shares
#                  the volume cannot rename or remove another's files. What the relay writes inside
#                  is private to its own uid.
# /run/postern     for the control socket, any uid as well. It is declared a volume, too, so that a
#                  read-only root file system needs no further option; a tmpfs here is better.
# /var/log/appliance  the appliance's own log when it runs as root.
# /key is left out on purpose: that it exists means that a key volume is attached.
RUN groupadd --gid 2525 postern \
    && useradd --uid 2525 --gid 2525 --no-create-home --home-dir /data --shell /usr/sbin/nologin \
       --comment 'Postern mail relay' postern \
    && install -d -o 2525 -g 2525 -m 1777 /data \
    && install -d -o 2525 -g 2525 -m 1777 /run/postern \
    && install -d -m 755 /var/log/appliance
COPY appliance/rootfs/ /
COPY --from=build /out/ /

# By number, so that an orchestrator which forbids root can see that this is not root.
USER 2525:2525
VOLUME ["/data", "/run/postern"]
# Ports below 1024 need no capability here: since 20.10 Docker sets ip_unprivileged_port_start to 0
# inside containers. Elsewhere use MTA_SMTP_PORT and MTA_UI_PORT.
EXPOSE 25 465 80
HEALTHCHECK --interval=10s --timeout=15s --start-period=30s --retries=3 \
    CMD ["/usr/bin/postern", "health"]
ENTRYPOINT ["/usr/bin/postern", "init"]

# Last, so that another commit of the same sources makes no other layer. `make image` gives both,
# compose.yaml passes them on; whoever builds without them is told so.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Postern" \
      org.opencontainers.image.description="A mail relay appliance: takes mail from applications, keeps it safe, delivers it" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="debian:bookworm-slim"
