# Sentinel from its sources, by Debian's compiler and its BPF standard library. How to run it: docs/docker.md
FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates cargo-web gcc libc6-dev libstd-rust-web-dev-bpf make rustc-web \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The only version that uses the compiler's own LLVM; xtask looks for it there.
RUN cargo install --locked --root target/tools bpf-linker@0.10.3
COPY . .
# `--build-arg PROFILE=dev` builds sooner, for a try. What was compiled stays in no layer.
ARG PROFILE=release
RUN cargo run --locked --package xtask --profile "$PROFILE" -- build-ebpf \
 && cargo build --locked --package sentinel --bin sentinel --profile "$PROFILE" \
 && mkdir /out \
 && strip -o /out/sentinel "target/$(test "$PROFILE" = dev && echo debug || echo "$PROFILE")/sentinel" \
 && rm -rf target

FROM debian:bookworm-slim
# Certificates, to call others by; nft, for hosts without BPF (`kernel.hook: nftables`). Nothing in it gains a privilege.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nftables \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} +
COPY config/settings.yml /etc/sentinel/
COPY --from=build /out/sentinel /usr/bin/
# What settings call `data/` is in here, for the agent and for commands that are run beside it.
WORKDIR /var/lib/sentinel
VOLUME /var/lib/sentinel
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["sentinel", "health"]
ENTRYPOINT ["sentinel"]
CMD ["run"]
