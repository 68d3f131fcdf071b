#!/usr/bin/env bash
# bench/acceptance.sh pack DIR      builds for any processor and packs all that the first run on a GPU needs: DIR/acceptance.tar.xz
# bench/acceptance.sh run DIR OUT   unpacks it on the machine with the GPU, checks and measures there; logs, OUT/report.json, OUT/table.md
#
# The other machine has a GPU with its driver, the libraries of CUDA (a toolkit, or pip's packages), and may have Python with PyTorch
# and transformers to compare with. It needs no network, no Open MPI and no BLAS: these travel. The run takes at most
# ACCEPTANCE_SECONDS (360); what is worth most comes first, and each step's result is written when it ends. Exit code 0: all passed;
# 1: something failed; 77: no device.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")/acceptance
case ${1:-}:$# in
  pack:2) exec "$here/pack.sh" "$2" ;;
  run:3) exec "$here/run.sh" "$2" "$3" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
