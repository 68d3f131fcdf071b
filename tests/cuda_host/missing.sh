#!/usr/bin/env bash
# missing.sh SHARDBITS MPIRUN SOURCE: --device auto computes on processors where no rank has a GPU or a driver, and fails where a GPU is
# there and cannot be used, or only some ranks have one.
. "$(dirname "$0")/../support/shell.sh"
arguments=(eval "$tiny" --tokens "$tiny_tokens" --token-dtype u16 --seqlen 12 --seqs 4)

for setting in SB_CUDA_HOST_DEVICES=0 "SB_CUDA_HOST_DEVICES=0 SB_CUDA_HOST_DRIVER=0"; do
  # shellcheck disable=SC2086
  env $setting "$mpirun" 2 "$shardbits" "${arguments[@]}" --device auto >"$dir/out" 2>"$dir/err" || fail "auto without a GPU ($setting)"
  grep -q 'processors: no ' "$dir/err" || fail "auto does not say that it computes on processors ($setting): $(cat "$dir/err")"
  export ${setting?}
  refuses 2 'no .* was found' "${arguments[@]}" --device cuda
  export -n SB_CUDA_HOST_DEVICES SB_CUDA_HOST_DRIVER
done

SB_CUDA_HOST_DRIVER=12020 refuses 2 'the NVIDIA driver is for CUDA 12.2' "${arguments[@]}" --device auto
SB_CUDA_HOST_BLAS=0 refuses 1 'cuBLAS is missing' "${arguments[@]}" --device auto
SB_CUDA_HOST_FAIL_IN=5 refuses 1 'cudaErrorLaunchFailure' "${arguments[@]}" --device auto

# a GPU for rank 1 alone
# shellcheck disable=SC2016
OMPI_MCA_odls_base_sigkill_timeout=0 timeout 60 "$mpirun" 2 -q sh -c 'export SB_CUDA_HOST_DEVICES=$OMPI_COMM_WORLD_RANK; exec "$@"' sh \
  "$shardbits" "${arguments[@]}" --device auto --quiet >"$dir/stdout" 2>"$dir/stderr"
code=$?
one_line "a GPU for one rank of two" 'other ranks have GPUs'

# doctor names what there is and what is missing, and fails with it
"$shardbits" doctor >"$dir/out" 2>"$dir/err" || fail "doctor: exit code $?"
for text in '^  CUDA .*driver 13.0, this build 13.0, 1 GPU$' '^  GPU 0 .*compute capability 9.0' '^  cuBLAS .*0.0.0' 'right on all ranks, by cuda'; do
  grep -q "$text" "$dir/out" || fail "doctor: no '$text' in $(cat "$dir/out")"
done
code=0
SB_CUDA_HOST_BLAS=0 "$shardbits" doctor >"$dir/stdout" 2>"$dir/stderr" || code=$?
grep -q '^  cuBLAS .*is missing' "$dir/stdout" || fail "doctor does not say that cuBLAS is missing: $(cat "$dir/stdout")"
one_line "doctor without cuBLAS" 'cuBLAS is missing'

finish
