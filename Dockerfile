# vlagen with all it needs to score policies; `make eval` is what it does unless told otherwise.
#
#   docker build -t vlagen .                                          without a GPU: software Vulkan
#   docker build -t vlagen:cuda --build-arg BASE=nvidia/cuda:13.0.2-base-ubuntu24.04 --build-arg CUDA=1 .
#
#   docker run --rm --shm-size=2g -v "$PWD/runs:/vlagen/runs" vlagen
#   docker run --rm --shm-size=2g -v "$PWD/runs:/vlagen/runs" --gpus all vlagen:cuda
ARG BASE=python:3.12-slim-trixie
FROM ${BASE}

ARG CUDA=""
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1
# The NVIDIA runtime brings its Vulkan driver only to containers that ask for `graphics`.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility

# What SAPIEN and OpenCV link to, and what the Makefile needs. Versions are those of the base image's release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates git libegl1 libgl1 libglib2.0-0 libgomp1 libvulkan1 libx11-6 make \
    && if ! command -v python3 >/dev/null; then apt-get install -y --no-install-recommends python3 python3-venv; fi \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

WORKDIR /vlagen

# Where pip looks besides PyPI, which has torch only with its CUDA packages. Not given, they are not set at all.
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
# While an image is built no GPU can be seen, so `make setup` would take the build of torch without CUDA.
COPY constraints.txt ./
RUN if [ -n "${CUDA}" ]; then \
        python3 -m venv .venv \
        && .venv/bin/python -m pip install --no-cache-dir -c constraints.txt "$(grep -o '^torch==[^ ;]*' constraints.txt)"; \
    fi
COPY . .
RUN PIP_NO_CACHE_DIR=1 scripts/setup.sh && apt-get clean && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 vlagen 2>/dev/null || usermod --login vlagen --home /home/vlagen --move-home ubuntu
RUN mkdir -p runs && chown -R 1000 /vlagen/runs
USER 1000
ENV PATH=/vlagen/.venv/bin:$PATH
VOLUME /vlagen/runs
CMD ["make", "eval"]
