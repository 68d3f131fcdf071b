#!/usr/bin/env bash
# Files that are none: pipes where a file is read are refused at once; a report goes into a pipe or a device, and through a link.
# Control characters that a folder brings along reach no terminal.
. "$(dirname "$0")/../support/shell.sh"

small=(--block 16x32 --seqlen 48)
bad=$dir/bad
copy() { rm -rf "$bad" && cp -r "${1:-$tiny}" "$bad"; }

# ---- pipes that nobody writes to: one line at once on every rank, never a wait ----

pipe_at() { rm -f "$1" && mkfifo "$1"; }
is_pipe() { # FILE ARGUMENT ...
  local file=$1
  shift
  refuses 2 "$file: is a pipe, not a regular file" "$@"
  [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "$*: left $(ls "$dir")"
}
quantize_tiny() { echo quantize "$1" --method rtn --bits 3 --block 16x32 -o "$out"; }
copy && pipe_at "$bad/model.safetensors"
# shellcheck disable=SC2046
is_pipe model.safetensors $(quantize_tiny "$bad")
copy && pipe_at "$bad/config.json"
# shellcheck disable=SC2046
is_pipe config.json $(quantize_tiny "$bad")
copy && rm "$bad/model.safetensors" && pipe_at "$bad/model.safetensors.index.json"
# shellcheck disable=SC2046
is_pipe model.safetensors.index.json $(quantize_tiny "$bad")
copy && pipe_at "$bad/tokenizer.json" # no weights depend on it: it stays behind, and is named
# shellcheck disable=SC2046
timeout 60 "$shardbits" $(quantize_tiny "$bad") >/dev/null 2>"$dir/err" || fail "a pipe among the side files: $(cat "$dir/err")"
grep -q "stays behind: tokenizer.json" "$dir/err" || fail "a pipe among the side files is not named: $(cat "$dir/err")"
[ ! -e "$out/tokenizer.json" ] && [ -e "$out/config.json" ] || fail "a pipe among the side files: $(ls "$out")"
rm -r "$out"
pipe_at "$dir/pipe"
is_pipe "$dir/pipe" eval "$tiny" --tokens "$dir/pipe" --token-dtype u16
is_pipe "$dir/pipe" quantize "$tiny" --calib "$dir/pipe" --token-dtype u16 "${small[@]}" --bits 3 -o "$out"
is_pipe "$dir/pipe" quantize "$tiny" --calib "$tiny_tokens" --token-dtype u16 "${small[@]}" --bits 3 -o "$out" --checkpoint "$dir/pipe"
is_pipe "$dir/pipe" quantize "$tiny" --method rtn --bits 3 --block 16x32 -o "$out" --allocation "$dir/pipe"
run 1 quantize "$tiny" --method rtn --bits 3 --block 16x32 -o "$dir/good"
for file in manifest.json shard-00001-of-00001.sbz; do
  copy "$dir/good" && pipe_at "$bad/$file"
  is_pipe $file verify "$bad"
done
[ -p "$dir/pipe" ] || fail "a pipe was replaced"

# ---- where a report may go ----

report() { run 1 inspect "$tiny" --json "$1"; }
is_report() { [ "$(value "$1" vocab)" = 260 ] || fail "$2: no report in $1"; }
ln -s real.json "$dir/link.json" && echo old >"$dir/real.json"
report "$dir/link.json"
is_report "$dir/real.json" "through a link"
[ -L "$dir/link.json" ] || fail "the link was replaced"
cat "$dir/pipe" >"$dir/read.json" &
reader=$!
for _ in $(seq 100); do # it reads when it has opened the pipe
  "$shardbits" inspect "$tiny" --quiet --json "$dir/pipe" >/dev/null 2>"$dir/err" && break
  grep -q "nobody reads" "$dir/err" || fail "a report to a pipe: $(cat "$dir/err")"
  sleep 0.1
done
wait $reader
is_report "$dir/read.json" "through a pipe"
[ -p "$dir/pipe" ] || fail "the pipe was replaced"
refuses 1 "pipe: is a pipe that nobody reads from" inspect "$tiny" --json "$dir/pipe"
"$shardbits" inspect "$tiny" --quiet --json /dev/stdout 2>&1 | cat >"$dir/read.json"
grep -q '"vocab": 260' "$dir/read.json" || fail "/dev/stdout: no report"
refuses 1 "$dir/bad: is a folder" inspect "$tiny" --json "$bad"
if mknod "$dir/null" c 1 3 2>/dev/null && : 2>/dev/null >"$dir/null"; then # as root
  for ranks in 1 2; do
    run $ranks inspect "$tiny" --json "$dir/null"
    [ -c "$dir/null" ] || fail "a device was replaced on $ranks ranks"
  done
  refuses 2 "null: is a device, not a regular file" quantize "$tiny" --calib "$tiny_tokens" --token-dtype u16 "${small[@]}" --bits 3 \
    -o "$out" --checkpoint "$dir/null"
  [ -c "$dir/null" ] || fail "a device was replaced by a checkpoint"
fi
if mknod "$dir/block" b 7 250 2>/dev/null; then # said before the work
  refuses 1 "block: is a device; give the name of a file" quantize "$tiny" --method rtn --bits 3 --block 16x32 -o "$out" --json "$dir/block"
  [ ! -e "$out" ] && [ -b "$dir/block" ] || fail "a report to a block device"
fi
[ -z "$(find "$dir" -name '*.partial-*')" ] || fail "left $(find "$dir" -name '*.partial-*')"

# ---- control characters ----

escape=$(printf '\033') # and what a terminal takes for one: C1, of two bytes in UTF-8
csi=$(printf '\302\233')
clean() { # WHAT FILE ...: nothing in them that a terminal obeys, and something that shows it
  local what=$1 bytes
  shift
  bytes=$(cat "$@" | LC_ALL=C tr -d '\n\040-\176\200-\377' | wc -c)
  [ "$bytes" = 0 ] || fail "$what: control characters: $(cat -v "$@")"
  cat "$@" | grep -q "$csi" && fail "$what: C1 control characters: $(cat -v "$@")"
  cat "$@" | grep -q '\\x1b\|\\u00' || fail "$what: the name does not appear: $(cat -v "$@")"
}
copy "$dir/good"
sed -i 's/"program_version": "[^"]*"/"program_version": "9\\u001b[2J\\u001b[31mall is well\\n\\u009b1m"/' "$bad/manifest.json"
cmp -s "$bad/manifest.json" "$dir/good/manifest.json" && fail "the test is wrong: no version in the manifest"
tell 2 inspect "$bad"
clean "a manifest's version" "$dir/stdout" "$dir/stderr"
copy && sed -i 's/LlamaForCausalLM/Llama\\u001b[2J\\nshardbits: all is well/' "$bad/config.json"
tell 2 inspect "$bad"
one_line "an architecture" "architecture Llama.x1b.2J.nshardbits: all is well"
clean "an architecture" "$dir/stdout" "$dir/stderr"
sed -i 's/model.norm.weight/model.n\\u001b[.weight/' "$bad/config.json"
copy && LC_ALL=C sed -i 's/"model.norm.weight"/"m\\u001b[1.n.weight"/' "$bad/model.safetensors" # as long as before
tell 2 inspect "$bad"
[ "$code" = 1 ] || fail "a tensor's name: exit code $code"
[ "$(LC_ALL=C tr -d '\n\040-\176' <"$dir/stderr" | wc -c)" = 0 ] || fail "a tensor's name: $(cat -v "$dir/stderr")"
named=$dir/model${escape}[31m$csi
cp -r "$tiny" "$named"
for ranks in 1 2; do
  for arguments in "inspect" "plan --ranks 2 --bits 3" "quantize --method rtn --bits 3 --block 16x32 --overwrite -o $named-out"; do
    # shellcheck disable=SC2086
    "$mpirun" $ranks -q "$shardbits" $arguments "$named" >"$dir/stdout" 2>"$dir/stderr"
    clean "$arguments, on $ranks ranks" "$dir/stdout" "$dir/stderr"
  done
done
"$shardbits" inspect "$named" --json - >"$dir/stdout" 2>"$dir/stderr"
clean "a report on stdout" "$dir/stdout"
latin=$dir/$(printf 'caf\351') # no UTF-8, so nothing that JSON can hold
cp -r "$tiny" "$latin"
run 1 inspect "$latin" --json "$dir/report.json"
[ "$(value "$dir/report.json" path)" = "$dir/caf\\\\xe9" ] || fail "a name that is not UTF-8: $(value "$dir/report.json" path)"
finish
