# docker build -t samplug [--build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128] .
# docker run --rm -v "$PWD:/data" samplug tools/predict.py CONFIG CHECKPOINT IMAGES --out-dir /data/out
# Not built by us; see docs/install.md.
FROM python:3.11-slim

# Where torch comes from: the index for the CPU, or for a version of CUDA (its wheels bring CUDA's libraries, the host the driver).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

WORKDIR /samplug
# The OpenCV wheel with a window system would ask for libGL. Packages come before the code, so that a change of the code does not install them again.
COPY constraints.txt pyproject.toml setup.py README.md LICENSE ./
COPY samplug/__init__.py samplug/version.py samplug/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install -c constraints.txt torch --extra-index-url "$TORCH_INDEX" \
    && /opt/venv/bin/pip install -c constraints.txt -e '.[geo]' \
    && /opt/venv/bin/pip uninstall -y opencv-python opencv-python-headless \
    && /opt/venv/bin/pip install -c constraints.txt --no-deps opencv-python-headless
COPY . .

# Weights are kept in /cache: mount a volume there to keep them. Any user may write to it.
ENV PATH=/opt/venv/bin:$PATH HF_HOME=/cache/huggingface TORCH_HOME=/cache/torch MPLCONFIGDIR=/cache/matplotlib
RUN useradd --create-home samplug && mkdir -m 1777 /cache
USER samplug

ENTRYPOINT ["python"]
CMD ["tools/predict.py", "--help"]
