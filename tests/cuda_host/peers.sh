#!/usr/bin/env bash
# peers.sh SHARDBITS MPIRUN SOURCE: ranks with a GPU each, which exchange weights and sums among themselves, or sums by an MPI
# library that takes GPU memory: the same frames as through hosts; what the log says; an MPI library that does not take it; and a GPU
# that breaks while others wait for it: no hang, its line, nothing written.
. "$(dirname "$0")/../support/shell.sh"
model=$source/tests/golden/gqa-tied
options=(--token-dtype u16 --seqlen 12 --device cuda)
search=(quantize "$model" --calib "$model/tokens.bin" "${options[@]}" --bits 3 --block 16x32 --reorder none --trades 0)

export SB_CUDA_HOST_DEVICES=2
for exchange in auto host mpi; do
  SB_CUDA_HOST_MPI=$([ $exchange != mpi ] || echo 1)
  export SB_CUDA_HOST_MPI
  "$mpirun" 2 "$shardbits" "${search[@]}" --quantizer gptq --round-seqs 5 --refine 1 --tune-seqs 0 --gpu-exchange $exchange -o "$dir/$exchange" \
    --json "$dir/$exchange.json" >/dev/null 2>"$dir/$exchange.err" || { fail "--gpu-exchange $exchange"; cat "$dir/$exchange.err"; }
done
grep -q "GPUs exchange weights and sums among themselves" "$dir/auto.err" || fail "the log does not speak of an exchange"
grep -q "exchange\|by MPI" "$dir/host.err" && fail "host: the log speaks of an exchange"
grep -q "sums go from GPU to GPU by MPI" "$dir/mpi.err" || fail "mpi: the log does not say so"
for exchange in auto mpi; do
  [ "$(value "$dir/$exchange.json" content_hash)" = "$(value "$dir/host.json" content_hash)" ] ||
    fail "$exchange: other frames than through hosts"
done

# a GPU that cannot join the others, or (LONG) one that never comes to an end of it: weights and sums go through the hosts
for join in -1 ${LONG:+0}; do
  # shellcheck disable=SC2016
  timeout 150 "$mpirun" 2 sh -c '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export SB_CUDA_HOST_JOIN='"$join"'; exec "$@"' sh "$shardbits" \
    "${search[@]}" -o "$dir/alone" --overwrite --json "$dir/alone.json" >/dev/null 2>"$dir/err" || fail "rank 1 cannot join ($join): exit code $?"
  grep -q 'GPUs do not exchange weights or sums among themselves: ' "$dir/err" || { fail "rank 1 cannot join ($join)"; cat "$dir/err"; }
done

# bench says how fast sums go
run 2 bench "$model" --device cuda --seqlen 16 --block 16x32 --rounds 1 --codes grid --folder "$dir" --json "$dir/bench.json"
for key in sums upload gemm_bf16 gemm_f32; do
  grep -q "^ *\"$key\": {" "$dir/bench.json" || fail "bench has no $key: $(cat "$dir/bench.json")"
done

for device in cuda auto; do # no other device because of it
  SB_CUDA_HOST_MPI=0 "$mpirun" 2 "$shardbits" "${search[@]}" --device $device --gpu-exchange mpi -o "$dir/unaware" >/dev/null 2>"$dir/err"
  code=$?
  [ $code = 1 ] && [ "$(grep -c '^shardbits: ' "$dir/err")" = 1 ] && [ ! -e "$dir/unaware" ] &&
    grep -q "^shardbits: --gpu-exchange mpi: this MPI library does not take GPU memory.*auto or host" "$dir/err" ||
    { fail "--device $device with an MPI library that is not CUDA-aware: exit code $code"; cat "$dir/err"; }
done

# shellcheck disable=SC2016
timeout 60 "$mpirun" 2 sh -c '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export SB_CUDA_HOST_FAIL_IN=400; exec "$@"' sh "$shardbits" \
  "${search[@]}" -o "$dir/broken" >/dev/null 2>"$dir/err"
code=$?
[ $code != 0 ] && [ $code != 124 ] || fail "broken in mid-run: exit code $code"
grep -q "^shardbits: GPU 1 (.*cudaErrorLaunchFailure.*(rank 1 on $(hostname)" "$dir/err" ||
  { fail "broken in mid-run"; cat "$dir/err"; }
! compgen -G "$dir/broken*" >/dev/null || fail "broken in mid-run: something was written"
finish
