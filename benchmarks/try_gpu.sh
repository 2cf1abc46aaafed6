#!/usr/bin/env bash
# Run the CUDA code on a machine with an NVIDIA GPU from the sources, without installation and network. Requires torch,
# torchvision and pytorch-lightning, and msgspec or its wheel, unpacked (unzip) into a folder given by PACKAGES. Each command
# takes ten minutes at most and writes its results to $OUT (default: out).
#
#   benchmarks/try_gpu.sh tests       compare CUDA results with the CPU
#   benchmarks/try_gpu.sh benchmark   measure a step, one run and several concurrent runs, with and without MPS: GPU.md
#   benchmarks/try_gpu.sh paper       degradation at the published 64,000 steps, seed 0: records and tables in paper.tgz.
#                                     Takes the CIFAR-10 archive from DATA_MIRROR. Repeat the command to resume.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/src:$PWD/tests${PACKAGES:+:$PACKAGES} OUT=${OUT:-$PWD/out}
python=${PYTHON:-python3}
mkdir -p "$OUT"
case "${1:-}" in
tests)
  "$python" -m pytest -o addopts= -m gpu tests/training/test_gpu.py -v --durations=10 2>&1 | tee "$OUT/tests.txt"
  ;;
benchmark)
  "$python" benchmarks/gpu.py --dataset standin --data-dir "${DATA_DIR:-data}"
  ;;
paper)
  status=0
  timeout --signal=INT --kill-after=60 "${SECONDS_AT_MOST:-500}" "$python" -m resnet_repro.cli run degradation \
    --profile paper --seeds "${SEEDS:-0}" --arms plain-20,plain-56,resnet-20,resnet-56 --devices cuda --wandb-mode disabled \
    --data-dir "${DATA_DIR:-data}" --runs-dir "${RUNS_DIR:-runs}" --reports-dir "$OUT/reports" || status=$?
  find "${RUNS_DIR:-runs}" \( -name '*.json' -o -name '*.csv' -o -name log.txt \) -print0 |
    tar --null --files-from=- -czf "$OUT/paper.tgz"
  exit "$status"
  ;;
*)
  sed -n '2,10s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
