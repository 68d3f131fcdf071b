#!/usr/bin/env bash
# The Python package with torch and transformers, which the Python that SHARDBITS_PYTHON names has: the demo model as grids of widths by
# block, in stored orders, and as trellis codes.
. "$(dirname "$0")/../support/shell.sh"

python=${SHARDBITS_PYTHON:-python3}
$python -c 'import torch, transformers' >/dev/null 2>"$dir/err" || {
  echo "skipped: $python has not torch and transformers: $(tail -n 1 "$dir/err")"
  exit 77
}
export SHARDBITS_LIBRARY
SHARDBITS_LIBRARY=$(dirname "$shardbits")/python/libshardbits_native.so
as_model() { # OPTION ...
  run 1 quantize "$model" --calib "$calib" --seqs 8 --seqlen 64 --round-seqs 16 --tune-seqs 8 "$@" -o "$dir/quantized" --overwrite
  run 1 export "$dir/quantized" -o "$dir/f32" --dtype f32 --overwrite
  $python "$source/python/tests/test_transformers.py" "$shardbits" "$dir/quantized" "$dir/f32" "$heldout" >"$dir/said" 2>&1 ||
    fail "$*: $(cat "$dir/said")"
  grep -aoE "perplexity [0-9.]+, .*|weights [0-9.]+ MiB.*" "$dir/said"
}
as_model --bits 2.6
as_model --bits 3.3 --reorder indexed --method table
as_model --bits 2.2 --codes trellis
finish
