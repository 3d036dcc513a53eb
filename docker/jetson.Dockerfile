# fastalex on a Jetson, built with the board's own CUDA. Build it on the board, in the root of the repository:
#
#   JetPack 4.6 (Nano, TX2; tx2 for the TX2):
#     docker build -f docker/jetson.Dockerfile -t fastalex --build-arg DEVICE=nano .
#   JetPack 5 and 6 (Orin), with the tag of the board's L4T:
#     docker build -f docker/jetson.Dockerfile -t fastalex --build-arg DEVICE=orin \
#       --build-arg BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0 --build-arg PYTHON=python3 .
#
# Not built and not run by the project: it has no Jetson. A test checks what can be checked from here.
#
# On JetPack 4.6 CUDA is not in the image but comes from the board, also while building: /etc/docker/daemon.json must
# have "default-runtime": "nvidia" (github.com/dusty-nv/jetson-containers, "Docker Default Runtime").
#
# Run it (github.com/dusty-nv/jetson-inference, docker/run.sh, has the socket of the CSI camera's daemon):
#   docker run --rm -it --runtime nvidia --network host --device /dev/video0 -v /tmp/argus_socket:/tmp/argus_socket \
#     fastalex classify --network alexnet csi://0 --headless
ARG BASE=nvcr.io/nvidia/l4t-base:r32.7.1
FROM ${BASE}

# nano, tx2 or orin: devices/*.toml
ARG DEVICE=nano
# Ubuntu 18.04's own is 3.6, too old; from JetPack 5 on python3 is new enough.
ARG PYTHON=python3.8
ENV DEBIAN_FRONTEND=noninteractive

RUN apt-get update && apt-get install -y --no-install-recommends \
      build-essential ca-certificates ${PYTHON} ${PYTHON}-dev ${PYTHON}-venv \
      gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    && rm -rf /var/lib/apt/lists/*

# CMake, newer than Ubuntu's, comes with pip as a build requirement. pip itself is too old for -C on Python 3.8.
RUN ${PYTHON} -m venv /opt/fastalex && /opt/fastalex/bin/pip install --no-cache-dir --upgrade "pip>=23.1"

COPY . /src
ENV PATH=/opt/fastalex/bin:/usr/local/cuda/bin:${PATH}
RUN pip install --no-cache-dir /src -C cmake.define.FASTALEX_DEVICE=${DEVICE} -C cmake.define.FASTALEX_CUDA=ON \
    && pip install --no-cache-dir "opencv-python-headless>=4.5,<5" \
    && rm -rf /src

# Weights are downloaded once: docker run -v fastalex-weights:/weights ...
ENV FASTALEX_WEIGHTS_DIR=/weights
VOLUME /weights
ENTRYPOINT ["fastalex"]
CMD ["info"]
