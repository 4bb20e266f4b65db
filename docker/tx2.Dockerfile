# L4T 32.7 (JetPack 4.6.1 to 4.6.6), the last for the Jetson TX2: Ubuntu 18.04, Python 3.6, CUDA 10.2, TensorRT 8.2.
# CUDA and TensorRT are the board's own. The NVIDIA runtime mounts them, while building too: see docker/README.md.
FROM nvcr.io/nvidia/l4t-base:r32.7.1 AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        build-essential python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/fastnas/bin:/usr/local/cuda/bin:$PATH LANG=C.UTF-8
# The board's TensorRT lies in the system's packages. pip 9 does not know the wheels of arm64.
RUN python3 -m venv --system-site-packages /opt/fastnas \
    && pip install --no-cache-dir --upgrade pip==21.3.1 setuptools==59.6.0 wheel==0.37.1
# The last of each for this Python; numpy 1.19.5 ends with "illegal instruction" on this board.
RUN pip install --no-cache-dir --no-deps --ignore-installed \
        appdirs==1.4.4 \
        click==8.0.4 \
        dataclasses==0.8 \
        importlib-metadata==4.8.3 \
        mako==1.1.6 \
        markupsafe==2.0.1 \
        numpy==1.19.4 \
        opencv-python-headless==4.6.0.66 \
        platformdirs==2.4.0 \
        pytools==2022.1.12 \
        typing-extensions==4.1.1 \
        zipp==3.6.0 \
    && pip install --no-cache-dir --no-deps --no-build-isolation pycuda==2022.1
COPY jetson /src/jetson
RUN pip install --no-cache-dir --no-deps --no-build-isolation /src/jetson

FROM nvcr.io/nvidia/l4t-base:r32.7.1
LABEL fastnas.board="tx2"
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-tools python3 v4l-utils \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 --groups video fastnas \
    && ln -s /host/tmp/argus_socket /tmp/argus_socket
COPY --from=build /opt/fastnas /opt/fastnas
COPY docker/health.py /opt/fastnas/health.py
ENV PATH=/opt/fastnas/bin:/usr/local/cuda/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1 OPENBLAS_CORETYPE=ARMV8
USER 10001
WORKDIR /home/fastnas
# The first start builds engines, which takes minutes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20m CMD ["python3", "/opt/fastnas/health.py"]
ENTRYPOINT ["fastnas"]
CMD ["--help"]
