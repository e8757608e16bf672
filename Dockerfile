# The agent as built on the host by `cargo xtask build`.
FROM debian:bookworm-slim
COPY target/release/sentinel /usr/bin/sentinel
ENTRYPOINT ["/usr/bin/sentinel"]
CMD ["run"]
