#!/usr/bin/env bash
# trellis_kills.sh ... KILLS: a run with trellis codes that is killed again and again at random moments, while it searches, rounds or
# trains, and each time taken up on another number of ranks, ends with the frames of a run that nobody disturbed.
. "$(dirname "$0")/../support/shell.sh"
kills=$4
RANDOM=20261130

small=$dir/small # the first two layers of the demo model: finding codes takes most of the time
cp -r "$model" "$small" && chmod -R u+w "$small" && /usr/bin/python3 "$source/tests/program/spoil_model.py" "$small" layers 2
options=("$small" --codes trellis --bits 2.4 --calib "$calib" --seqs 4 --seqlen 48 --round-seqs 8 --tune-batch 2)
run 2 quantize "${options[@]}" -o "$dir/whole" --json "$dir/whole.json"
most=$(awk -v s="$(value "$dir/whole.json" seconds)" 'BEGIN { print int(600 * s) }') # milliseconds: most of a run

done_kills=0 attempts=0
while [ $done_kills -lt "$kills" ]; do
  attempts=$((attempts + 1))
  ranks=$((1 + RANDOM % 4)) wait=$((RANDOM % most))
  rm -rf "$dir/killed" # an output that was complete when the kill came
  start "$mpirun" $ranks -q "$shardbits" quantize "${options[@]}" --checkpoint "$dir/state" -o "$dir/killed" >"$dir/out" 2>"$dir/err"
  for _ in $(seq 200); do # it has begun
    grep -q '^load' "$dir/err" && break
    running || break
    sleep 0.02
  done
  sleep "$((wait / 1000)).$(printf %03d $((wait % 1000)))"
  running && done_kills=$((done_kills + 1))
  signal_ranks KILL
  wait "$job"
  ! grep -q '^shardbits: ' "$dir/err" || { fail "attempt $attempts on $ranks ranks: $(grep '^shardbits: ' "$dir/err")"; finish; }
  [ $attempts -lt $((4 * kills)) ] || { fail "only $done_kills kills hit a run in $attempts attempts"; finish; }
  [ ! -e "$dir/killed" ] || rm -f "$dir/state"* # done: once more from the beginning
done
rm -rf "$dir/killed"
run 3 quantize "${options[@]}" --checkpoint "$dir/state" -o "$dir/killed" --json "$dir/killed.json"
[ "$(value "$dir/killed.json" content_hash)" = "$(value "$dir/whole.json" content_hash)" ] || fail "other frames after $kills kills"
[ -z "$(find "$dir" -name '*partial*')" ] || fail "left $(find "$dir" -name '*partial*')"
echo "$kills kills in $attempts attempts"
finish
