#!/usr/bin/env bash
# The place of the tests that need an accelerator. 77 tells ctest "skipped".
if [ -n "$(nvidia-smi -L 2>/dev/null)" ]; then
  echo "skipped: $(nvidia-smi -L | head -n 1) is there, but this version has no CUDA kernels to test"
else
  echo "skipped: no CUDA device on this machine, and no CUDA kernels in this version"
fi
exit 77
