# fastalex as an HTTP service on x86-64. Build it in the root of the repository:
#
#   docker build -f docker/serve.Dockerfile -t fastalex-serve .
#
# Not built and not run by the project: it has no Docker. A test checks what can be checked from here.
#
# Run it, for clients of this machine alone:
#   docker run --rm -p 127.0.0.1:8000:8000 --read-only fastalex-serve --model digits
#
# For clients of other machines, with a token from a file, and weights of a folder that the container cannot write to:
#   docker run --rm -p 8000:8000 --read-only -v "$PWD/weights:/weights:ro" -v "$PWD/token:/run/token:ro" \
#     fastalex-serve --model alexnet=/weights/alexnet.safetensors --token-file /run/token --allowed-host example.org
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE} AS build

RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python -m venv /opt/fastalex && /opt/fastalex/bin/pip install --no-cache-dir "/src[serve]"

FROM ${BASE}

COPY --from=build /opt/fastalex /opt/fastalex
ENV PATH=/opt/fastalex/bin:${PATH}
RUN useradd --system --no-create-home fastalex
USER fastalex

# Weights that are downloaded, once: docker run -v fastalex-weights:/weights ...
ENV FASTALEX_WEIGHTS_DIR=/weights
VOLUME /weights
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
# The container's own network is no place for others to come from: -p says who does.
ENTRYPOINT ["fastalex", "serve", "--host", "0.0.0.0"]
CMD ["--model", "digits"]
