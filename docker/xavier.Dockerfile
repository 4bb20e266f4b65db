# L4T 35 (JetPack 5), the last for the Jetson Xavier: Ubuntu 20.04, Python 3.8, CUDA 11.4, TensorRT 8.5.2.
# CUDA and TensorRT are the image's; the NVIDIA runtime mounts only the driver. CUDA is called through ctypes.
FROM nvcr.io/nvidia/l4t-jetpack:r35.4.1
LABEL fastnas.board="xavier"
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-tools \
        python3-venv v4l-utils \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 --groups video fastnas \
    && ln -s /host/tmp/argus_socket /tmp/argus_socket
ENV PATH=/opt/fastnas/bin:/usr/local/cuda/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1
# The image's TensorRT lies in the system's packages. It still says np.bool, which numpy 1.24 removed.
RUN python3 -m venv --system-site-packages /opt/fastnas \
    && pip install --no-cache-dir --upgrade pip==24.3.1 setuptools==69.5.1 wheel==0.45.1 \
    && pip install --no-cache-dir --no-deps --ignore-installed \
        click==8.1.7 \
        numpy==1.23.5 \
        opencv-python-headless==4.10.0.84
COPY jetson /tmp/jetson
RUN pip install --no-cache-dir --no-deps --no-build-isolation /tmp/jetson
COPY docker/health.py /opt/fastnas/health.py
USER 10001
WORKDIR /home/fastnas
# The first start builds engines, which takes minutes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20m CMD ["python3", "/opt/fastnas/health.py"]
ENTRYPOINT ["fastnas"]
CMD ["--help"]
