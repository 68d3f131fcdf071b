#!/usr/bin/env bash
# What an output needs besides the work: a place that can take it, files that travel with the model, reports that overwrite no
# input. All of it is asked first; what fails when the output is in its place says that the output is complete.
. "$(dirname "$0")/../support/shell.sh"

rtn=(--bits 3 --block 16x32 --method rtn)
small_run=(--calib "$tiny_tokens" --seqlen 48 --seqs 2 --bits 3.5 --block 16x32)
run 1 quantize "$tiny" "${rtn[@]}" -o "$dir/made"

# Mount points: an empty one is written inside, one with content is refused before the work, and keeps it.
in_mounts() {
  cd "$dir" || exit 1
  mkdir -p vol bound bind && mount -t tmpfs -o size=64m none vol && mount --bind bound bind || exit 77
  mkdir vol/lost+found
  "$shardbits" quantize "$tiny" "${small_run[@]}" -o vol --quiet || exit 1
  "$shardbits" verify vol --quiet || exit 2
  [ "$(ls -A vol | tr '\n' ' ')" = "config.json expect.json lost+found manifest.json shard-00001-of-00001.sbz " ] || exit 3
  "$shardbits" quantize "$tiny" "${small_run[@]}" --trades 10000 -o vol --overwrite --quiet && exit 4
  "$shardbits" verify vol --quiet || exit 5
  for command in "export made" "synth --config $tiny" "reorder $tiny --calib $tiny_tokens --seqlen 48 --no-shares --block 16x32"; do
    # shellcheck disable=SC2086
    "$shardbits" $command -o bind --quiet || exit 6
    "$shardbits" inspect bind --check --quiet || exit 7
    [ -z "$(find bind -name '.*' ! -name bind)" ] || exit 8
    rm -rf bind/*
  done
}
export -f in_mounts && export dir shardbits tiny tiny_tokens
if unshare -m true 2>/dev/null; then
  unshare -m bash -c "$(declare -p small_run); in_mounts" >"$dir/stdout" 2>"$dir/stderr"
  code=$?
  [ $code = 0 ] || [ $code = 77 ] || fail "mount points: step $code: $(cat "$dir/stderr")"
  [ $code = 77 ] || grep -q "vol: is a mount point with content, which cannot be replaced" "$dir/stderr" || fail "$(cat "$dir/stderr")"
else
  echo "no file system may be mounted here: mount points are not tried"
fi
rm -rf "$dir/bound"

# The source goes while the work lasts: its side files were copied at the start, also those with names of their own.
cp -r "$model" "$dir/source" && echo '{"<x>": 2047}' >"$dir/source/added_tokens.json" && mkfifo "$dir/source/vocab.json"
start "$shardbits" quantize "$dir/source" --calib "$calib" --seqs 16 --seqlen 64 --bits 2.5 --trades 2 -o "$out" --block 64x64 \
  >"$dir/stdout" 2>"$dir/stderr"
for _ in $(seq 600); do grep -q '^search' "$dir/stderr" && break || sleep 0.05; done
cp "$dir/source/config.json" "$dir/config.json" && rm -rf "$dir/source"
wait "$job" || fail "the source went: $(tail -n 1 "$dir/stderr")"
grep -q "1 of .*source stays behind: vocab.json (not a file)" "$dir/stderr" || fail "a pipe: $(head -n 3 "$dir/stderr")"
cmp -s "$dir/config.json" "$out/config.json" && [ -s "$out/added_tokens.json" ] && [ -s "$out/tokenizer.json" ] ||
  fail "the source went: $(ls "$out")"
run 1 verify "$out"
rm -rf "$out"

# What is exported is read again: the type stands under both of its names, and no value becomes infinite.
cp -r "$tiny" "$dir/two" && sed -i 's/"torch_dtype": "bfloat16"/"torch_dtype": "bfloat16", "dtype": "bfloat16"/' "$dir/two/config.json"
run 1 quantize "$dir/two" "${rtn[@]}" -o "$dir/two-q"
run 2 export "$dir/two-q" -o "$dir/two-hf" --dtype f16
[ "$(grep -c '"\(torch_\)\{0,1\}dtype": "float16"' "$dir/two-hf/config.json")" = 2 ] || fail "dtypes: $(grep dtype "$dir/two-hf/config.json")"
run 1 eval "$dir/two-hf" --tokens "$tiny_tokens" --seqlen 48
/usr/bin/python3 - "$source/tests/golden/f32-single" "$dir/wide" <<'PYTHON'
import json, shutil, struct, sys
shutil.copytree(sys.argv[1], sys.argv[2])
path = sys.argv[2] + "/model.safetensors"
data = bytearray(open(path, "rb").read())
n = struct.unpack("<Q", data[:8])[0]
for name, value in (("model.layers.1.mlp.down_proj.weight", 1e6), ("model.norm.weight", 7e4)):
    struct.pack_into("<f", data, 8 + n + json.loads(data[8:8 + n])[name]["data_offsets"][0], value)
    open(path, "wb").write(data)
    break
PYTHON
run 1 quantize "$dir/wide" "${rtn[@]}" -o "$dir/wide-q"
refused "model.layers.1.mlp.down_proj.weight.0, 0. is [0-9e+.]*, beyond the range of f16 (65504); use --dtype bf16" \
  export "$dir/wide-q" -o "$out" --dtype f16
run 2 export "$dir/wide-q" -o "$out" --dtype bf16
rm -rf "$out"

# Reports, checkpoints and bit maps onto what the run reads.
cp -r "$tiny" "$dir/model" && cp "$tiny_tokens" "$dir/tokens.bin" && ln -s model/config.json "$dir/alias.json"
before=$(hash_of "$dir/model")
onto() { refused "$1 would overwrite it, and this run reads it" "${@:2}"; }
quantize=(quantize "$dir/model" --calib "$dir/tokens.bin" --seqlen 48 --bits 3 -o "$out")
onto json "${quantize[@]}" --json "$dir/model/config.json"
onto json "${quantize[@]}" --json "$dir/tokens.bin"
onto checkpoint "${quantize[@]}" --checkpoint "$dir/alias.json"
onto json eval "$dir/model" --tokens "$dir/tokens.bin" --seqlen 48 --json "$dir/tokens.bin"
onto json inspect "$dir/model" --json "$dir/model/model.safetensors"
onto json verify "$dir/made" --json "$dir/made/manifest.json"
onto json export "$dir/made" -o "$out" --json "$dir/made/shard-00001-of-00001.sbz"
onto json plan "$dir/model/config.json" --json "$dir/model/config.json"
SHARDBITS_TRACE=$dir/tokens.bin onto SHARDBITS_TRACE eval "$dir/model" --tokens "$dir/tokens.bin" --seqlen 48
refused "r: is named by .* and by .*; choose another name" quantize "$tiny" "${rtn[@]}" -o "$out" --json "$dir/r" --allocation "$dir/r"
refused "OUT: is named by --json and by --out; choose another name" quantize "$tiny" "${rtn[@]}" -o "$out" --json "$out"
[ "$(hash_of "$dir/model")" = "$before" ] && cmp -s "$tiny_tokens" "$dir/tokens.bin" || fail "an input changed"
for _ in 1 2; do run 1 verify "$dir/made" --json "$dir/made/report.json"; done # an earlier report is no input
run 1 verify "$dir/made"

# Failures when the output is in its place.
after() { # WHAT TEXT
  one_line "$1" "$2.*; .*OUT is complete"
  run 1 verify "$out"
  rm -rf "$out"
}
"$shardbits" quantize "$tiny" "${rtn[@]}" -o "$out" --quiet 2>"$dir/stderr" >/dev/full
code=$?
after "no room for what is printed" "stdout: the results could not be written"
if mkdir "$dir/full" && mount -t tmpfs -o size=4k,nr_inodes=3 none "$dir/full" 2>/dev/null; then
  trap 'umount "$dir/full"; rm -rf "$dir"' EXIT
  head -c 4k /dev/zero >"$dir/full/fill"
  tell 2 quantize "$tiny" "${rtn[@]}" -o "$out" --json "$dir/full/report"
  after "no room for the report" "full/report: no space left"
  export SHARDBITS_TRACE=$dir/full/trace
  tell 2 quantize "$tiny" "${rtn[@]}" -o "$out"
  unset SHARDBITS_TRACE
  after "no room for the trace" "full/trace: no space left"
fi
finish
