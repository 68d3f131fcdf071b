#!/usr/bin/env bash
# train_kills.sh ... KILLS: a training run that is killed again and again at random moments, each time taken up on another number of
# ranks, ends with the weights and moments of a run that nobody disturbed, in FP4 with stochastic rounding. Saving goes on at every
# second step, so that many kills hit it.
. "$(dirname "$0")/../support/shell.sh"
kills=$4
RANDOM=20260211

tokens=$dir/tokens.bin
/usr/bin/python3 -c '
import struct, sys
open(sys.argv[2], "wb").write(b"".join(struct.pack("<H", b) for b in open(sys.argv[1], "rb").read()))' "$source/docs/results.md" "$tokens"
options=("$tiny/config.json" --tokens "$tokens" --token-dtype u16 --seqlen 32 --batch 6 --steps "$((40 * kills))" --save-every 2
  --skip-loss 4 --precision fp4-128)
run 2 train "${options[@]}" -o "$dir/whole"
last=step-$(printf %08d $((40 * kills)))
hashes() { (cd "$1" && cat model.safetensors "$1.checkpoints/$last/model.safetensors" "$1.checkpoints/$last/optimizer.safetensors" | sha256sum); }

done_kills=0 attempts=0
while [ $done_kills -lt "$kills" ]; do
  attempts=$((attempts + 1))
  ranks=$((1 + RANDOM % 4))
  rm -rf "$dir/killed" # an output that was complete when the kill came
  start "$mpirun" $ranks -q "$shardbits" train "${options[@]}" -o "$dir/killed" --events "$dir/events" >"$dir/out" 2>"$dir/err"
  before=$(wc -l 2>/dev/null <"$dir/events")
  for _ in $(seq 200); do # it has begun
    [ "$(wc -l 2>/dev/null <"$dir/events")" != "$before" ] && break
    running || break
    sleep 0.02
  done
  sleep "0.$(printf %03d $((RANDOM % 400)))"
  running && done_kills=$((done_kills + 1))
  signal_ranks KILL
  wait "$job"
  ! grep -q '^shardbits: ' "$dir/err" || { fail "attempt $attempts on $ranks ranks: $(grep '^shardbits: ' "$dir/err")"; finish; }
  [ $attempts -lt $((4 * kills)) ] || { fail "only $done_kills kills hit a run in $attempts attempts"; finish; }
  [ ! -e "$dir/killed" ] || rm -rf "$dir/killed.checkpoints" "$dir/events" # done: once more from the beginning
done
rm -rf "$dir/killed"
run 3 train "${options[@]}" -o "$dir/killed" --events "$dir/events"
[ "$(hashes "$dir/killed")" = "$(hashes "$dir/whole")" ] || fail "other weights or moments after $kills kills"
[ "$(grep -c '"event": "step"' "$dir/events")" = $((40 * kills)) ] || fail "events: $(grep -c '"event": "step"' "$dir/events") steps"
[ -z "$(find "$dir" -name '*partial*')" ] || fail "left $(find "$dir" -name '*partial*')"
echo "$kills kills in $attempts attempts"
finish
