#!/usr/bin/env bash
# pack.sh DIR: see bench/acceptance.sh. Needs what a build needs, and nvcc.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
. tools/setup.sh
mkdir -p "$1"
dir=$(readlink -f "$1") most=$((60 << 20))
build=$dir/build stage=$dir/acceptance
gpu_tests=(dense attention blocks round moments factor packed trellis trellis_packed)

say "Building for any processor with AVX2, and for GPUs from A100 on ..."
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSB_NATIVE=OFF -DSB_ONEDNN=OFF -DSB_CUDA=ON >"$dir/build.log" 2>&1 &&
  cmake --build "$build" --target shardbits bench_cuda bench_cuda_trellis "${gpu_tests[@]/#/test_gpu_cuda_}" >>"$dir/build.log" 2>&1 ||
  { tail -n 20 "$dir/build.log" >&2 && die "the build failed; the whole log is in $dir/build.log"; }

rm -rf "$stage"
mkdir -p "$stage"/{bin,lib,mpi/bin,bench/acceptance,tools,data}
install -s -t "$stage/bin" "$build/shardbits" "$build"/bench/bench_cuda{,_trellis} "${gpu_tests[@]/#/$build/tests/gpu/test_gpu_cuda_}"

# Open MPI with its plugins: found by OPAL_PREFIX. Nothing here may name its own place.
prefix=$(ompi_info --path prefix --parsable | cut -d: -f3) plugins=$(ompi_info --path pkglibdir --parsable | cut -d: -f3)
help=$(ompi_info --path pkgdatadir --parsable | cut -d: -f3)
for folder in "$plugins" "$help"; do
  mkdir -p "$stage/mpi/${folder#"$prefix"/}" && cp -rL "$folder/." "$stage/mpi/${folder#"$prefix"/}"
done
plugins=$stage/mpi/${plugins#"$prefix"/}
install -s "$(readlink -f "$(command -v mpirun)")" "$stage/mpi/bin/mpirun"
install -s "$(readlink -f "$(command -v orted)")" "$stage/mpi/bin/orted"

# Every library but the system's own, which must fit its kernel, and CUDA's, which fit the driver.
needed() { ldd "$@" 2>/dev/null | awk '$3 ~ /^\// { print $3 }' | sort -u; }
needed "$stage"/bin/* "$stage"/mpi/bin/* "$plugins"/*.so |
  grep -Ev '/(ld-linux.*|libc|libm|libdl|libpthread|librt|libresolv|libutil|libcuda|libcublas.*|libcusolver|libnccl)\.so' |
  while read -r library; do install -m 644 "$(readlink -f "$library")" "$stage/lib/$(basename "$library")"; done
strip --strip-unneeded "$stage"/lib/*.so* "$plugins"/*.so

cp -r data/demo-llama data/calib.bin data/heldout.bin "$stage/data"
cp -r bench/acceptance.sh "$stage/bench" && cp bench/acceptance/* "$stage/bench/acceptance"
cp tools/bench_torch.py tools/bench_int4.py "$stage/tools"
git rev-parse HEAD >"$stage/commit" 2>/dev/null || echo unknown >"$stage/commit"

XZ_OPT=-T0 tar -C "$dir" -cJf "$dir/acceptance.tar.xz" acceptance
bytes=$(stat -c %s "$dir/acceptance.tar.xz")
say "$dir/acceptance.tar.xz: $((bytes >> 10)) KiB"
[ "$bytes" -le $most ] || die "it is larger than $((most >> 20)) MiB"
