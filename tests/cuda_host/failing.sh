#!/usr/bin/env bash
# failing.sh SHARDBITS MPIRUN SOURCE: a GPU that breaks in mid-run on one of two ranks, and memory that is too small: one clear line,
# exit code 1 on all ranks, nothing written.
. "$(dirname "$0")/../support/shell.sh"
model=$source/tests/golden/gqa-tied
arguments=(quantize "$model" --calib "$model/tokens.bin" --token-dtype u16 --seqlen 12 --bits 3 --block 16x32 --reorder none
  --trades 0 --quantizer rtn --device cuda -o "$dir/out")

refused() { # WHAT TEXT ...: of the run just made
  local what=$1 text
  shift
  [ $code = 1 ] || fail "$what: exit code $code"
  [ "$(grep -c '^shardbits: ' "$dir/err")" = 1 ] || fail "$what: not one line"
  for text in "$@"; do grep -q "^shardbits: .*$text" "$dir/err" || fail "$what: nothing about '$text'"; done
  ! compgen -G "$dir/out*" >/dev/null || fail "$what: something was written"
  [ $failures = 0 ] || cat "$dir/err"
}

for when in 30 400; do
  # shellcheck disable=SC2016
  "$mpirun" 2 sh -c '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export SB_CUDA_HOST_FAIL_IN='$when'; exec "$@"' sh "$shardbits" \
    "${arguments[@]}" >/dev/null 2>"$dir/err"
  code=$?
  refused "broken after $when kernels" "GPU 0 (" "cudaErrorLaunchFailure" "(rank 1 on $(hostname)"
done

SB_CUDA_HOST_MEMORY=100000 "$mpirun" 2 "$shardbits" "${arguments[@]}" >/dev/null 2>"$dir/err"
code=$?
refused "no memory" "do not fit" "--activation-memory"

finish
