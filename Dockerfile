# syntax=docker/dockerfile:1
# assay on the CPU:  docker build -t assay .  &&  docker run --rm -v "$PWD:/work" assay run leave_one_out --world grammar
# On NVIDIA GPUs:    docker build -t assay:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu… .  (see pytorch.org)
#                    docker run --rm --gpus all -v "$PWD:/work" assay:cuda run grpo --model MODEL …
# Not built in the tests of this repository: they read this file and compare it with pyproject.toml and the Makefile.
FROM python:3.12-slim-bookworm AS wheel
WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt build hatchling
COPY pyproject.toml README.md LICENSE ./
COPY claims ./claims
COPY assay ./assay
RUN python -m build --no-isolation --wheel --outdir /dist .

FROM python:3.12-slim-bookworm
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=hub,lora
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
COPY constraints.txt /tmp/
# PyTorch in a layer of its own: it is the largest by far and changes least
RUN pip install -c /tmp/constraints.txt --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    set -eu; for wheel in /dist/*.whl; do pip install -c /tmp/constraints.txt "$wheel[$EXTRAS]"; done
RUN useradd --create-home --uid 1000 assay && mkdir /work && chown assay /work
# models, data sets and built worlds: mount a volume here to keep them
ENV HF_HOME=/home/assay/.cache/huggingface ASSAY_CACHE=/home/assay/.cache/assay
USER assay
WORKDIR /work
ENTRYPOINT ["assay"]
CMD ["--help"]
