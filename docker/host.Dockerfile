# A machine with an NVIDIA GPU: search, training and export. Python 3.12; torch brings its CUDA 13 along, the base adds
# what the NVIDIA runtime needs to know, and refuses a driver that is too old.
FROM nvcr.io/nvidia/cuda:13.0.2-base-ubuntu24.04 AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/fastnas
ENV PATH=/opt/fastnas/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# The 5 GB first: a change of our own code leaves this layer as it is.
RUN pip install --no-cache-dir --constraint constraints.txt torch==2.14.1 torchvision==0.29.1
COPY LICENSE README.md pyproject.toml setup.py ./
COPY fastnas fastnas
COPY search search
COPY train train
COPY deploy deploy
COPY jetson jetson
COPY weights weights
RUN pip install --no-cache-dir --constraint constraints.txt ".[cpu,ray]"

FROM nvcr.io/nvidia/cuda:13.0.2-base-ubuntu24.04
LABEL fastnas.board="host"
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        libgl1 libglib2.0-0t64 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 --groups video fastnas
COPY --from=build /opt/fastnas /opt/fastnas
COPY docker/health.py /opt/fastnas/health.py
ENV PATH=/opt/fastnas/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/fastnas
HEALTHCHECK --interval=30s --timeout=5s --start-period=1m CMD ["python3", "/opt/fastnas/health.py"]
ENTRYPOINT ["fastnas"]
CMD ["--help"]
