# The agent as `cargo xtask run` built it on the host.
FROM debian:bookworm-slim
COPY target/release/sentinel /usr/bin/sentinel
ENTRYPOINT ["/usr/bin/sentinel"]
CMD ["run"]
