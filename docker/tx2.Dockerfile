# L4T 32.7 (JetPack 4.6.1 to 4.6.6), the last for the Jetson TX2: Ubuntu 18.04, Python 3.6, CUDA 10.2, TensorRT 8.2.
# CUDA and TensorRT are the board's own; the NVIDIA runtime mounts them. CUDA is called through ctypes.
FROM nvcr.io/nvidia/l4t-base:r32.7.1
LABEL fastnas.board="tx2"
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-tools \
        python3-venv v4l-utils \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 --groups video fastnas \
    && ln -s /host/tmp/argus_socket /tmp/argus_socket
ENV PATH=/opt/fastnas/bin:/usr/local/cuda/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1 OPENBLAS_CORETYPE=ARMV8
# The board's TensorRT lies in the system's packages. pip 9 does not know the wheels of arm64. The others are the last of
# each for this Python; numpy 1.19.5 ends with "illegal instruction" on this board.
RUN python3 -m venv --system-site-packages /opt/fastnas \
    && pip install --no-cache-dir --upgrade pip==21.3.1 setuptools==59.6.0 wheel==0.37.1 \
    && pip install --no-cache-dir --no-deps --ignore-installed \
        click==8.0.4 \
        importlib-metadata==4.8.3 \
        numpy==1.19.4 \
        opencv-python-headless==4.6.0.66 \
        typing-extensions==4.1.1 \
        zipp==3.6.0
COPY jetson /tmp/jetson
RUN pip install --no-cache-dir --no-deps --no-build-isolation /tmp/jetson
COPY docker/health.py /opt/fastnas/health.py
USER 10001
WORKDIR /home/fastnas
# The first start builds engines, which takes minutes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20m CMD ["python3", "/opt/fastnas/health.py"]
ENTRYPOINT ["fastnas"]
CMD ["--help"]
