#!/usr/bin/env bash
# A disk that fills up while a checkpoint of training is written: one line that says where, the checkpoint before it stays valid, and
# with room again the same command goes on from there to the weights of an undisturbed run.
. "$(dirname "$0")/../support/shell.sh"

tokens=$dir/tokens.bin
/usr/bin/python3 -c '
import struct, sys
open(sys.argv[2], "wb").write(b"".join(struct.pack("<H", b) for b in open(sys.argv[1], "rb").read()))' "$source/docs/results.md" "$tokens"
options=("$tiny/config.json" --tokens "$tokens" --token-dtype u16 --seqlen 32 --batch 6 --steps 30 --keep 1)
run 1 train "${options[@]}" --save-every 0 -o "$dir/whole"

small=$dir/small
mkdir "$small"
if ! mount -t tmpfs -o size=300k none "$small" 2>/dev/null; then
  echo "no file system may be mounted here: full ones are not tried"
  finish
  exit
fi
trap 'umount "$small"; rm -rf "$dir"' EXIT
train() { # RANKS ARGUMENT ...
  local ranks=$1
  shift
  tell "$ranks" train "${options[@]}" --save-every 10 --checkpoints "$small/saved" -o "$out" "$@"
}
train 2
one_line "too small a disk" "small/saved (checkpoints at a time: 2): needs about [0-9.]* MiB and its disk has [0-9.]* KiB free" # before the first step
[ -z "$(ls -A "$small")" ] || fail "too small a disk: left $(ls -A "$small")"

umount "$small" && mount -t tmpfs -o size=2m none "$small" # room for two
train 2 --keep 2
one_line "too small a disk for all" "small/saved (checkpoints at a time: 3): needs about [0-9.]* MiB"
[ -z "$(ls -A "$small")" ] || fail "too small a disk for all: left $(ls -A "$small")"

umount "$small" && mount -t tmpfs -o size=3m none "$small"
train 1 --stop-at 10
[ -e "$small/saved/step-00000010/training.json" ] || fail "no first checkpoint: $(cat "$dir/stderr")"
for ranks in 1 3; do
  { head -c 9m /dev/zero >"$small/fill"; } 2>/dev/null
  rm "$small/fill" && { head -c 1500k /dev/zero >"$small/fill"; } # room for one file more, not for both
  train $ranks
  [ "$code" = 1 ] || fail "a full disk, $ranks ranks: exit code $code: $(cat "$dir/stderr")"
  grep "^shardbits: " "$dir/stderr" | grep -q "small/saved.*the checkpoint before it is good, and the same command goes on from there" ||
    fail "a full disk, $ranks ranks: $(tail -n 1 "$dir/stderr")"
  [ "$(ls "$small/saved")" = step-00000010 ] || fail "a full disk, $ranks ranks: left $(ls "$small/saved")"
  [ ! -e "$out" ] || fail "a full disk, $ranks ranks: an output"
done
rm "$small/fill"
train 2
cmp -s "$out/model.safetensors" "$dir/whole/model.safetensors" || fail "other weights: $(cat "$dir/stderr")"
finish
