#!/usr/bin/env bash
# run.sh DIR OUT: see bench/acceptance.sh. Needs bash, coreutils, awk, tar and xz; Python for the comparisons with PyTorch alone.
set -u
package=$(readlink -f "$1") began=$SECONDS
mkdir -p "$2"
out=$(readlink -f "$2")
[ -d "$package/acceptance" ] || tar -C "$package" -xJf "$package/acceptance.tar.xz" || exit 1
root=$package/acceptance
cd "$root" || exit 1
export PATH=$root/bin:$root/mpi/bin:$PATH LD_LIBRARY_PATH=$root/lib:${LD_LIBRARY_PATH:-}
[ ! -x mpi/bin/mpirun ] || export OPAL_PREFIX=$root/mpi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_plm=isolated PMIX_MCA_pcompress_base_silence_warning=1 # one machine, perhaps without ssh
export OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1
python=${PYTHON:-python3} whole=${ACCEPTANCE_SECONDS:-360} failed=0
rm -f "$out"/{steps,report.json,table.md} "$out"/*.log "$out"/*.part.json

left() { echo $((whole - (SECONDS - began))); }
note() { # NAME RESULT SECONDS: one line a step, on the screen and in $out/steps
  printf '%-28s %-10s %5d s\n' "$@" | tee -a "$out/steps"
}
# step NAME LIMIT COMMAND ...: its output goes to $out/NAME.log; 77 counts as a failure, since a device is there.
step() {
  local name=$1 limit=$2 start=$SECONDS code=0
  shift 2
  [ "$(left)" -ge 5 ] || { note "$name" "left out" 0 && return; }
  [ "$limit" -le "$(left)" ] || limit=$(left)
  timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1 </dev/null || code=$?
  case $code in
    0) note "$name" passed $((SECONDS - start)) ;;
    124 | 137) note "$name" "timed out" $((SECONDS - start)) && failed=1 ;;
    *) note "$name" "failed" $((SECONDS - start)) && failed=1 && grep -v '^\[ *\(RUN\|OK\)' "$out/$name.log" | tail -n 4 ;;
  esac
}
finish() {
  printf '{"commit": "%s", "seconds": %d, "steps": [' "$(cat commit)" $((SECONDS - began)) >"$out/report.json"
  awk '{ gsub(/left out/, "left_out"); gsub(/timed out/, "timed_out"); gsub(/no device/, "no_device")
         printf "%s\n  {\"name\": \"%s\", \"result\": \"%s\", \"seconds\": %d}", (NR > 1 ? "," : ""), $1, $2, $3 }' "$out/steps" >>"$out/report.json"
  printf '\n]' >>"$out/report.json"
  for report in "$out"/*.part.json; do
    [ -s "$report" ] && printf ',\n"%s": %s' "$(basename "$report" .part.json)" "$(cat "$report")" >>"$out/report.json"
  done
  printf '}\n' >>"$out/report.json"
  bench/acceptance/table.sh "$out" >"$out/table.md"
}

# 1. What is there: driver, libraries, a first product.
code=0
timeout 60 shardbits doctor --device cuda --json "$out/doctor.part.json" >"$out/doctor.log" 2>&1 || code=$?
cat "$out/doctor.log"
if [ $code != 0 ] && grep -Eq 'no (NVIDIA driver|CUDA device) was found' "$out/doctor.log"; then
  note doctor "no device" $((SECONDS - began)) && finish
  echo "no device: nothing was checked or measured"
  exit 77
fi
[ $code = 0 ] && note doctor passed $((SECONDS - began)) || { note doctor failed $((SECONDS - began)) && failed=1; }

# 2. Every test of the device, each in a process and time limit of its own.
for name in dense blocks round moments packed attention factor trellis trellis_packed; do step "test_$name" 45 "test_gpu_cuda_$name"; done

# 3. The demo model on the GPU and on processors: bits, perplexity.
demo() { # DEVICE COMPUTE OPTION ...
  local device=$1 compute=$2 name
  shift 2
  name=${device}_$compute${1:+_trellis}
  shardbits quantize data/demo-llama --calib data/calib.bin --seqlen 128 --seqs 32 --bits 2.6 --device "$device" --compute "$compute" --overwrite \
    "$@" -o "$out/demo" --json "$out/quantize_$name.part.json" --quiet &&
    shardbits eval "$out/demo" --tokens data/heldout.bin --seqlen 128 --device "$device" --compute "$compute" --json "$out/eval_$name.part.json" --quiet
}
export -f demo
export out
for how in "cuda f32" "cuda bf16" "cpu f32"; do step "demo_${how/ /_}" 60 bash -c "demo $how"; done
for how in "cuda f32" "cpu f32"; do step "demo_${how/ /_}_trellis" 60 bash -c "demo $how --codes trellis"; done
rm -rf "$out/demo"

# 4. Kernels beside copies, cuBLAS and PyTorch; a layer of 70B shapes; a model of a billion weights beside transformers.
step kernels 60 bench_cuda
step trellis 60 bench_cuda_trellis
step layer_70b 40 shardbits bench bench/acceptance/llama-70b.json --device cuda --compute bf16 --seqlen 2048 --folder "$out" --json "$out/layer_70b.part.json"
if "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  step int4 40 "$python" tools/bench_int4.py --device cuda --shape 8192x8192 --shape 28672x8192 --tokens 1,4,16,64
fi
billion() { # ours, then transformers', on the same tokens
  shardbits synth --config bench/acceptance/llama-1b.json --tokens 131072 -o "$root/billion" --overwrite --quiet &&
    shardbits eval "$root/billion" --tokens "$root/billion/tokens.bin" --seqlen 2048 --seqs 16 --device cuda --compute bf16 --json "$out/billion.part.json" --quiet ||
    return 1
  "$python" -c 'import transformers' 2>/dev/null || return 0
  "$python" tools/bench_torch.py "$root/billion" "$root/billion/tokens.bin" --device cuda --dtype bfloat16 --token-dtype u32 --seqlen 2048 --seqs 16 >"$out/transformers.part.json"
}
export -f billion
export root python
step billion 90 bash -c billion
step two_ranks 60 mpirun --oversubscribe -n 2 shardbits eval data/demo-llama --tokens data/heldout.bin --seqlen 128 --device cuda --json "$out/two_ranks.part.json" --quiet

# 5. The small tests under compute-sanitizer, where it is.
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" 60 compute-sanitizer --tool $tool --target-processes all --error-exitcode 1 test_gpu_cuda_moments
  done
fi
finish
cat "$out/table.md"
exit $failed
