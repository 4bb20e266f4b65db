# L4T 39 (JetPack 7.2), Jetson Orin and Thor: Ubuntu 24.04, Python 3.12, CUDA 13.2, TensorRT 10.16.
# NVIDIA publishes no base image for it: CUDA and TensorRT come from the boards' own package archive, and the NVIDIA
# runtime mounts the driver. CUDA is called through ctypes, so that nothing is compiled.
FROM ubuntu:24.04
LABEL fastnas.board="jetpack7"
ADD https://repo.download.nvidia.com/jetson/jetson-ota-public.asc /etc/apt/keyrings/jetson.asc
RUN chmod 644 /etc/apt/keyrings/jetson.asc \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates \
    && echo "deb [signed-by=/etc/apt/keyrings/jetson.asc] https://repo.download.nvidia.com/jetson/common r39.2 main" \
        >/etc/apt/sources.list.d/jetson.list \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        cuda-cudart-13-2 cuda-nvrtc-13-2 gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-tools \
        python3-libnvinfer python3-venv v4l-utils \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 --groups video fastnas \
    && ln -s /host/tmp/argus_socket /tmp/argus_socket
# What NVIDIA's base images say to its runtime.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
ENV PATH=/opt/fastnas/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1
# The image's TensorRT lies in the system's packages.
RUN python3 -m venv --system-site-packages /opt/fastnas \
    && pip install --no-cache-dir --upgrade pip==24.3.1 setuptools==69.5.1 wheel==0.45.1 \
    && pip install --no-cache-dir --no-deps --ignore-installed \
        click==8.1.7 \
        numpy==1.26.4 \
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
