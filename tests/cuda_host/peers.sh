#!/usr/bin/env bash
# peers.sh SHARDBITS MPIRUN SOURCE: ranks with a GPU each, which exchange weights and sums among themselves: the same frames as
# through hosts; what the log says; and a GPU that breaks while others wait for it: no hang, its line, nothing written.
. "$(dirname "$0")/../program/common.sh"
model=$source/tests/golden/gqa-tied
options=(--token-dtype u16 --seqlen 12 --device cuda)
search=(quantize "$model" --calib "$model/tokens.bin" "${options[@]}" --bits 3 --block 16x32 --reorder none --trades 0)

export SB_CUDA_HOST_DEVICES=2
for exchange in auto host; do
  "$mpirun" 2 "$shardbits" "${search[@]}" --quantizer gptq --round-seqs 5 --refine 1 --tune-seqs 0 --gpu-exchange $exchange -o "$dir/$exchange" \
    --json "$dir/$exchange.json" >/dev/null 2>"$dir/$exchange.err" || { fail "--gpu-exchange $exchange"; cat "$dir/$exchange.err"; }
done
grep -q "GPUs exchange weights and sums among themselves" "$dir/auto.err" || fail "the log does not speak of an exchange"
grep -q "exchange" "$dir/host.err" && fail "host: the log speaks of an exchange"
[ "$(value "$dir/auto.json" content_hash)" = "$(value "$dir/host.json" content_hash)" ] || fail "other frames than through hosts"

# shellcheck disable=SC2016
timeout 60 "$mpirun" 2 sh -c '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export SB_CUDA_HOST_FAIL_IN=400; exec "$@"' sh "$shardbits" \
  "${search[@]}" -o "$dir/broken" >/dev/null 2>"$dir/err"
code=$?
[ $code != 0 ] && [ $code != 124 ] || fail "broken in mid-run: exit code $code"
grep -q "^shardbits: GPU 1 (.*cudaErrorLaunchFailure.*(rank 1 on $(hostname)" "$dir/err" ||
  { fail "broken in mid-run"; cat "$dir/err"; }
[ -z "$(ls "$dir" | grep '^broken')" ] || fail "broken in mid-run: something was written"
finish
