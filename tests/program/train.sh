#!/usr/bin/env bash
# train: the same weights on any number of ranks and after stops; what a checkpoint of another run differs by; damaged token
# files, weights without numbers, and signals, each with one line.
. "$(dirname "$0")/../support/shell.sh"

config=$tiny/config.json
tokens=$dir/tokens.bin other=$dir/other.bin
/usr/bin/python3 - "$source/docs/results.md" "$tokens" "$other" <<'EOF'
import struct, sys
text = open(sys.argv[1], "rb").read()
open(sys.argv[2], "wb").write(b"".join(struct.pack("<H", b) for b in text[:20000]))
open(sys.argv[3], "wb").write(struct.pack("<256i", 20240520, 1, 15000, *[0] * 253) + b"".join(struct.pack("<H", b) for b in text[20000:35000]))
EOF
options=("$config" --tokens "$tokens:0.75,$other:0.25" --token-dtype auto --seqlen 32 --batch 7 --steps 24 --lr 0.003)
weights() { sha256sum <"$1/model.safetensors"; }
steps_in() { /usr/bin/python3 -c '
import json, sys
print(*[e["step"] for e in map(json.loads, open(sys.argv[1])) if e["event"] == "step"])' "$1"; }

# ---- any number of ranks, threads, and stops in between ----
run 1 train "${options[@]}" -o "$dir/whole" --save-every 0 --threads 2 --eval-tokens "$tokens" --json "$dir/whole.json"
[ ! -e "$dir/whole.checkpoints" ] || fail "checkpoints that nobody asked for"
whole=$(weights "$dir/whole")
loss=$(value "$dir/whole.json" loss)
awk -v l="$loss" 'BEGIN { exit !(l > 1 && l < 4.6) }' || fail "it does not learn: loss $loss"
for ranks in 2 3 5; do
  run $ranks train "${options[@]}" -o "$dir/r$ranks" --save-every 0 --eval-tokens "$tokens" --json "$dir/r.json"
  [ "$(weights "$dir/r$ranks")" = "$whole" ] || fail "other weights on $ranks ranks"
  [ "$(value "$dir/r.json" heldout_loss)" = "$(value "$dir/whole.json" heldout_loss)" ] || fail "another held-out loss on $ranks ranks"
done
run 3 train "${options[@]}" -o "$dir/stopped" --stop-at 5 --events "$dir/events"
[ ! -e "$dir/stopped" ] || fail "an output of a run that stopped"
run 1 train "${options[@]}" -o "$dir/stopped" --stop-at 11 --save-every 4 --keep 0 --events "$dir/events" --json "$dir/s.json"
[ "$(value "$dir/s.json" first_step) $(value "$dir/s.json" step)" = "5 11" ] || fail "it did not go on: $(cat "$dir/s.json")"
rm -r "$dir/stopped.checkpoints/step-00000011" # as if that attempt had been killed after step 8
run 2 train "${options[@]}" -o "$dir/stopped" --events "$dir/events"
[ "$(weights "$dir/stopped")" = "$whole" ] || fail "other weights after stops"
[ "$(steps_in "$dir/events")" = "$(seq -s ' ' 24)" ] || fail "events: $(steps_in "$dir/events")"
[ "$(ls "$dir/stopped.checkpoints")" = "$(printf 'step-00000008\nstep-00000024')" ] ||
  fail "checkpoints: $(ls "$dir/stopped.checkpoints")"
run 2 train "${options[@]}" -o "$dir/stopped" --overwrite --dtype bf16 --json "$dir/s.json" # of a run that is done
[ "$(value "$dir/s.json" loss)" = "$loss" ] || fail "the loss of a run that is done: $(value "$dir/s.json" loss), not $loss"
grep -q bfloat16 "$dir/stopped/config.json" || fail "--dtype bf16 is not said"
[ "$(stat -c %s "$dir/stopped/model.safetensors")" -lt "$(($(stat -c %s "$dir/whole/model.safetensors") * 6 / 10))" ] || fail "not bf16"
run 1 eval "$dir/whole" --tokens "$tokens" --seqlen 32 --seqs 64 # an ordinary model

# ---- from the moments of a checkpoint: the same as going on ----
run 2 train "$dir/stopped.checkpoints/step-00000008" --optimizer "$dir/stopped.checkpoints/step-00000008/optimizer.safetensors" \
  "${options[@]:1}" -o "$dir/branch" --save-every 0 --json "$dir/b.json"
[ "$(value "$dir/b.json" first_step)" = 8 ] || fail "a branch begins at $(value "$dir/b.json" first_step)"
[ "$(weights "$dir/branch")" = "$whole" ] || fail "other weights from moments and masters"

# ---- checkpoints of another run ----
run 2 train "${options[@]}" -o "$dir/k" --stop-at 6
key() { # TEXT ARGUMENT ...
  local text=$1
  shift
  refuses 1 "training.json: a state of training with another $text" train "$@" -o "$dir/k"
  [ ! -e "$dir/k" ] || fail "$text: an output"
}
key "--batch: 7 there, 6 here" "${options[@]}" --batch 6
key "--seqlen: 32 there, 16 here" "${options[@]}" --seqlen 16
key "--seed: 0 there, 5 here" "${options[@]}" --seed 5
key "model (MODEL" "$tiny" "${options[@]:1}"
key "set of token files (--tokens); give" "$config" --tokens "$tokens:0.75,$tokens:0.25" "${options[@]:3}"
key "set of weights of token files (--tokens); give" "$config" --tokens "$tokens:0.7,$other:0.3" "${options[@]:3}"
key "--steps: 24 there, 30 here" "${options[@]}" --steps 30 --warmup 0
key "--lr: 0.003 there, 0.0003 here" "${options[@]}" --lr 0.0003
key "--beta2: 0.95 there, 0.99 here" "${options[@]}" --beta2 0.99
key "--adapt: none there, 4 here" "${options[@]}" --adapt 4 --adapt-precision fp4-128
key "--clip" "${options[@]}" --clip 0
key "--compute: f32 there, bf16 here" "${options[@]}" --precision bf16
refuses 1 "k.checkpoints: has step 6, behind --stop-at 3" train "${options[@]}" -o "$dir/k" --stop-at 3
run 1 train "${options[@]}" -o "$dir/k" --stop-at 7
cp -r "$dir/k.checkpoints" "$dir/kept"
damaged() { # TEXT: of step 7, which something was done to; no other advice stands beside the way out
  tell 3 train "${options[@]}" -o "$dir/k"
  one_line "$1" "$1" && ! grep -q "fetch\|give \|; is it" "$dir/stderr" || fail "$1: $(cat "$dir/stderr")"
  rm -rf "$dir/k.checkpoints" && cp -r "$dir/kept" "$dir/k.checkpoints"
}
last=$dir/k.checkpoints/step-00000007
before="; remove [^ ]*step-00000007 to go on from the checkpoint before it"
truncate -s 1000 "$last/optimizer.safetensors" && damaged "optimizer.safetensors: the header claims.*$before"
truncate -s 9000 "$last/model.safetensors" && damaged "model.safetensors: tensor .*$before"
rm "$last/model.safetensors" && damaged "model.safetensors: cannot be opened.*$before"
rm "$last/optimizer.safetensors" && damaged "optimizer.safetensors: cannot be opened.*$before"
echo garbage >"$last/training.json" && damaged "training.json: is not valid JSON.*$before"
echo '{}' >"$last/training.json" && damaged "training.json: not a training state.*$before"
rm -r "$dir/k.checkpoints/step-00000006" "$last/optimizer.safetensors" && damaged "; remove .*step-00000007 to begin anew"

# ---- what is refused before the work ----
head -c 9000 "$other" >"$dir/short.bin"
refused "short.bin: .*15000" train "$config" --tokens "$dir/short.bin" --steps 5 -o "$out"
printf 'MMIDIDX\0\0' >"$dir/index.bin" && head -c 4000 /dev/zero >>"$dir/index.bin"
refuses 1 "index.bin: .*Megatron" train "$config" --tokens "$dir/index.bin" --steps 5 -o "$out"
refuses 1 "calib.bin: token [0-9]* has id [0-9]* but the model's vocabulary has 260 ids" train "$config" --tokens "$calib" \
  --steps 5 -o "$out"
refuses 1 "tokens.bin: has 20000 tokens, fewer than one sequence" train "$config" --tokens "$tokens" --steps 5 --seqlen 30000 -o "$out"
wrong=2 refused "train: --stop-at 9 lies behind --steps 5" train "$config" --tokens "$tokens" --steps 5 --stop-at 9 -o "$out"
wrong=2 refuses 1 "train: --cooldown is of --schedule wsd" train "$config" --tokens "$tokens" --steps 5 --cooldown 2 -o "$out"
wrong=2 refuses 1 "train: --eval-every needs --eval-tokens" train "$config" --tokens "$tokens" --steps 5 --eval-every 2 -o "$out"
wrong=2 refuses 1 "has no weight, unlike" train "$config" --tokens "$tokens:1,$other" --steps 5 -o "$out"
refuses 1 "tokens.bin: --events would overwrite it" train "$config" --tokens "$other,$tokens" --steps 5 --events "$tokens" -o "$out"
refuses 1 "optimizer.safetensors: is of step 24, and this run ends with step 20" train "$tiny" --tokens "$tokens" --steps 20 \
  --optimizer "$dir/stopped.checkpoints/step-00000024/optimizer.safetensors" -o "$out"

# ---- before the weights are loaded ----
early() { # TEXT ARGUMENT ...: and nothing was loaded
  local text=$1
  shift
  refused "$text" train "$tiny" "$@" -o "$out"
  code=$("$shardbits" train "$tiny" "$@" -o "$out" >/dev/null 2>"$dir/stderr"; echo $?)
  ! grep -q '^load ' "$dir/stderr" || fail "$*: found after loading: $(cat "$dir/stderr")"
}
early "nix.json" "${options[@]:1}" --policy "$dir/nix.json"
early "nix.bin" --tokens "$dir/nix.bin" --steps 5
early "nix.bin" "${options[@]:1}" --eval-tokens "$dir/nix.bin"
early "nix.safetensors" "${options[@]:1}" --optimizer "$dir/nix.safetensors"
early "keep-first 9" "${options[@]:1}" --keep-first 9 --precision fp4-128
early "adapt-target 0.9 is out of reach" "${options[@]:1}" --adapt 2 --adapt-precision fp4-128 --adapt-target 0.9 --keep-first 1
cp -r "$tiny" "$dir/model"
for folder in "$dir/model" "$dir/model/saved"; do
  refuses 2 "checkpoints would be written into MODEL" train "$dir/model" "${options[@]:1}" -o "$out" --checkpoints "$folder"
done
[ "$(hash_of "$dir/model")" = "$(hash_of "$tiny")" ] || fail "--checkpoints MODEL: left $(ls "$dir/model")"

# ---- a log must not cost a run: its reader goes, or its disk is full ----
mkfifo "$dir/pipe"
run 2 train "${options[@]}" -o "$dir/told" --save-every 0 --events -
[ "$(steps_in "$dir/out")" = "$(seq -s ' ' 24)" ] || fail "stdout has not the events alone: $(cat "$dir/out")"
"$shardbits" train "${options[@]}" -o "$dir/unread" --events - --quiet --json "$dir/u.json" 2>"$dir/err" | head -n 1 >"$dir/first"
[ "${PIPESTATUS[0]}" = 0 ] || fail "a reader that goes: exit code ${PIPESTATUS[0]}: $(cat "$dir/err")"
grep -q '"event": "begin"' "$dir/first" || fail "no events on stdout: $(cat "$dir/first")"
run 1 train "${options[@]}" -o "$dir/full" --save-every 0 --events /dev/full --json "$dir/u.json"
[ "$(weights "$dir/full") $(value "$dir/u.json" events_complete)" = "$whole false" ] || fail "events on a full disk: $(cat "$dir/u.json")"
refuses 1 "pipe: is a pipe that nobody reads from" train "${options[@]}" -o "$out" --events "$dir/pipe"
wrong=2 refuses 1 "train: --events - and --json - would mix" train "${options[@]}" -o "$out" --events - --json -

# ---- what has no effect, or no longer any, is told ----
sed 's/"attention_dropout": [0-9.]*/"attention_dropout": 0.1/' "$config" >"$dir/dropout.json"
head -c 8000 /dev/zero >"$dir/zeros.bin"
"$shardbits" train "$dir/dropout.json" --tokens "$dir/zeros.bin" --token-dtype u16 --seqlen 16 --batch 2 --steps 12 --lr 5 --save-every 0 \
  -o "$dir/zeros" >"$dir/stdout" 2>"$dir/stderr" || fail "zeros: $(cat "$dir/stderr")"
grep -q "attention_dropout 0.1 of its configuration has no effect" "$dir/stderr" || fail "dropout: $(cat "$dir/stderr")"
[ "$(grep -c "the gradient has been exactly 0 for 3 steps" "$dir/stderr")" = 1 ] || fail "no gradient: $(cat "$dir/stderr")"

# ---- a loss without a number; the last good state stays ----
tell 3 train "${options[@]}" --lr 900 --clip 0 --warmup 9 --decay 0 --save-every 1 -o "$dir/bad" --events "$dir/bad.events"
one_line "a rate that is too high" "step [1-9][0-9]*: .*model.layers.* is no number.*; a lower --lr, --clip or.*checkpoints/step-0*[1-9] is complete"
tail -n 1 "$dir/bad.events" | grep -q '"event": "failure", "step": [1-9][0-9]*, "message": "step ' || fail "no event of it: $(tail -n 1 "$dir/bad.events")"
[ ! -e "$dir/bad" ] || fail "a rate that is too high: an output"

# ---- SIGUSR1: a checkpoint after the present step, and a clean end; SIGTERM: what goes on from where ----
begin() { # OUT SAVE_EVERY
  start "$mpirun" 3 -q "$shardbits" train "${options[@]:0:9}" --steps 100000 --save-every "$2" --events "$dir/job" -o "$1" \
    >"$dir/stdout" 2>"$dir/stderr"
  for _ in $(seq 300); do
    [ -e "$dir/job" ] && [ "$(grep -c '"step"' "$dir/job")" -gt 20 ] && return
    sleep 0.1
  done
  echo "FAILED: no steps: $(cat "$dir/stderr")" && exit 1
}
rm -f "$dir/job"
begin "$dir/asked" 50000
kill -USR1 "$(rank_of_job 1)"
wait "$job" || fail "SIGUSR1: exit code $?"
grep -q "stopped at step [0-9]* of 100000" "$dir/stdout" || fail "SIGUSR1: $(cat "$dir/stdout")"
[ "$(find "$dir/asked.checkpoints" -name training.json | wc -l)" = 1 ] || fail "SIGUSR1: no checkpoint"
begin "$dir/asked" 1
kill -TERM "$job"
wait "$job" && fail "SIGTERM: exit code 0"
! grep '^shardbits: ' "$dir/stderr" | grep -vq "interrupted by SIGTERM; the same command goes on after step" ||
  fail "SIGTERM: $(cat "$dir/stderr")"
rm "$dir/job"
begin "$dir/early" 50000
signal_ranks TERM
wait "$job"
[ -z "$(ls -d "$dir"/early* 2>/dev/null)" ] || fail "SIGTERM before a checkpoint: left $(ls -d "$dir"/early*)"
! grep '^shardbits: ' "$dir/stderr" | grep -vq "interrupted by SIGTERM; nothing was written" || fail "SIGTERM before a checkpoint: $(cat "$dir/stderr")"
[ -z "$(find "$dir" -name '*partial*')" ] || fail "SIGTERM: left $(find "$dir" -name '*partial*')"
finish
