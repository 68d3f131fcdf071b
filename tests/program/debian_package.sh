#!/usr/bin/env bash
# The Debian package that cpack makes of a portable build: what it holds, what it depends on, and its program at work. Builds the program,
# which takes minutes.
. "$(dirname "$0")/../support/shell.sh"

cmake -S "$source" -B "$dir/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSB_NATIVE=OFF -DSB_TESTS=OFF -DSB_BENCH=OFF -DSB_CUDA=OFF \
  -DSB_PACKAGE_CONTACT="A Packager <packager@debian.org>" >"$dir/log" 2>&1 &&
  cmake --build "$dir/build" >"$dir/log" 2>&1 && (cd "$dir/build" && cpack -B "$dir/packages") >"$dir/log" 2>&1 || { tail -n 20 "$dir/log"; exit 1; }
deb=$(echo "$dir"/packages/*.deb)
version=$("$shardbits" --version | cut -d' ' -f2)
case $deb in
  */shardbits_"$version"-1_*.deb) ;;
  *) fail "its name: $deb" ;;
esac
dpkg-deb -x "$deb" "$dir/root"
for file in bin/shardbits share/man/man1/shardbits.1.gz share/bash-completion/completions/shardbits share/zsh/vendor-completions/_shardbits \
  "share/shardbits/modulefiles/shardbits/$version.lua" share/shardbits/slurm/quantize.sbatch share/doc/shardbits/{copyright,changelog.gz,changelog.Debian.gz,README.md}; do
  [ -s "$dir/root/usr/$file" ] || fail "no $file"
done
[ -z "$(find "$dir/root" -path "$dir/root/usr" -prune -o -type f -print)" ] || fail "files beside /usr"
field() { dpkg-deb -f "$deb" "$1"; }
for library in libopenmpi3 libzstd1 libjansson4 libscalapack-openmpi libopenblas0-openmp libgomp1; do
  grep -q "$library" <<<"$(field Depends)" || fail "it does not depend on $library: $(field Depends)"
done
grep -q openmpi-bin <<<"$(field Recommends)" || fail "it does not recommend mpirun: $(field Recommends)"
man -l "$dir/root/usr/share/man/man1/shardbits.1.gz" >/dev/null 2>"$dir/err" || fail "its man page: $(cat "$dir/err")"

# The same result as of the build for this machine, whose kernels are others.
run 1 quantize "$tiny" --calib "$tiny_tokens" --token-dtype u16 --method rtn --bits 4.5 --block 16x32 --seqlen 48 -o "$dir/native" --json "$dir/native.json"
shardbits=$dir/root/usr/bin/shardbits
run 2 quantize "$tiny" --calib "$tiny_tokens" --token-dtype u16 --method rtn --bits 4.5 --block 16x32 --seqlen 48 -o "$dir/packed" --json "$dir/packed.json"
[ "$(value "$dir/native.json" content_hash)" = "$(value "$dir/packed.json" content_hash)" ] || fail "another result"
if command -v lintian >/dev/null; then
  lintian --fail-on error --allow-root "$deb" >"$dir/log" 2>&1 || fail "lintian: $(cat "$dir/log")"
fi
finish
