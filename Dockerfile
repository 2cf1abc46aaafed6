# docker build -t resnet-repro .                      CPU
# docker build -t resnet-repro --build-arg WHEELS= .  CUDA: torch's wheels of PyPI, which bring CUDA along
# docker run --rm -v "$PWD/work:/work" resnet-repro run degradation      (GPUs: add --gpus all --shm-size=8g)
FROM python:3.12-slim
ARG WHEELS=https://download.pytorch.org/whl/cpu
# git names the commit in records. g++ compiles kernels, where that pays.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /resnet-repro
WORKDIR /resnet-repro
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt ${WHEELS:+--extra-index-url "$WHEELS"} --editable .
# Runs, reports and data lie in the working directory.
WORKDIR /work
ENTRYPOINT ["resnet-repro"]
CMD ["list"]
