#!/usr/bin/env bash
# train --adapt: the same weights, and the same choices at the same steps, on any number of ranks and after stops; choices are policies
# that `policy` reads; what contradicts itself, or another run's options, is refused.
. "$(dirname "$0")/../support/shell.sh"

tokens=$dir/tokens.bin
/usr/bin/python3 -c '
import struct, sys
open(sys.argv[2], "wb").write(b"".join(struct.pack("<H", b) for b in open(sys.argv[1], "rb").read()[:30000]))' "$source/docs/results.md" "$tokens"
# fp4-128 carries any shape, that of the tiny model too.
options=("$tiny/config.json" --tokens "$tokens" --token-dtype u16 --seqlen 32 --batch 6 --steps 12 --lr 0.003 --adapt 4 --adapt-precision fp4-128
  --adapt-target 0.6)
weights() { sha256sum <"$1/model.safetensors"; }
# What is told of choices, without the paths, which are those of OUT.
choices() { grep -E '"event": "(policy|noise|spike)"' "$1" | sed 's/, "path": [^}]*//'; }
policies() { (cd "$1" && sha256sum ./*); }

# ---- any number of ranks, and stops in between ----
run 1 train "${options[@]}" --forward-high 0.2 -o "$dir/whole" --events "$dir/whole.events" --json "$dir/whole.json"
[ "$(value "$dir/whole.json" profiles)" = 2 ] || fail "$(value "$dir/whole.json" profiles) profiles in 12 steps"
grep '"policy"' "$dir/whole.events" | grep -q '"step": 5, "why": "due", "from": 4,' || fail "no choice for the step after 4: $(cat "$dir/whole.events")"
ls "$dir/whole.policies" | head -n 1 | grep -qx step-00000004.json || fail "policies: $(ls "$dir/whole.policies")"
run 1 policy "$dir/whole.policies/step-00000004.json" --json "$dir/p.json"
awk -v s="$(value "$dir/p.json" fp4)" 'BEGIN { exit !(s >= 0.6 && s < 1) }' || fail "the policy has $(value "$dir/p.json" fp4) in fp4"
shares=$(grep '"event": "step"' "$dir/whole.events" | sed 's/.*"fp4_share": \([0-9.]*\).*/\1/' | tr '\n' ' ')
echo "$shares" | awk '{ exit !($1 == 0 && $4 == 0 && $5 >= 0.6 && $10 > 0.3 && $11 < $10 && $11 > 0) }' || fail "shares of fp4: $shares"
for ranks in 2 3; do
  run $ranks train "${options[@]}" --forward-high 0.2 -o "$dir/r" --overwrite --checkpoints "$dir/r$ranks" --events "$dir/r.events"
  [ "$(weights "$dir/r")" = "$(weights "$dir/whole")" ] || fail "other weights on $ranks ranks"
  [ "$(choices "$dir/r.events")" = "$(choices "$dir/whole.events")" ] || fail "other choices on $ranks ranks"
done
for stop in 4 5 10; do # just before a choice, just after one, and where the forward pass has turned
  run $((1 + stop % 3)) train "${options[@]}" --forward-high 0.2 -o "$dir/stopped" --stop-at $stop --events "$dir/stopped.events"
done
run 2 train "${options[@]}" --forward-high 0.2 -o "$dir/stopped" --events "$dir/stopped.events"
[ "$(weights "$dir/stopped")" = "$(weights "$dir/whole")" ] || fail "other weights after stops"
[ "$(choices "$dir/stopped.events")" = "$(choices "$dir/whole.events")" ] ||
  fail "other choices after stops: $(choices "$dir/stopped.events") instead of $(choices "$dir/whole.events")"
[ "$(policies "$dir/stopped.policies")" = "$(policies "$dir/whole.policies")" ] || fail "other policies after stops"

# ---- with moments of another run the first choice comes at once ----
last=$dir/stopped.checkpoints/step-00000010
[ -d "$last" ] || fail "no checkpoint of step 10: $(ls "$dir/stopped.checkpoints")"
run 1 train "$last" --optimizer "$last/optimizer.safetensors" "${options[@]:1}" -o "$dir/branch" --save-every 0 --events "$dir/b.events"
grep -q '"step": 11, "why": "begins"' "$dir/b.events" || fail "no choice at the beginning: $(cat "$dir/b.events")"

# ---- the high forward pass alone ----
run 1 train "${options[@]:0:13}" --precision fp4-128 --forward-high 0.5 -o "$dir/high" --save-every 0 --events "$dir/h.events"
grep '"event": "step"' "$dir/h.events" | sed 's/.*"fp4_share": \([0-9.]*\).*/\1/' | sort | uniq -c |
  awk '{ n[$2 > 0.9] += $1 } END { exit !(n[0] == 6 && n[1] == 6) }' || fail "not half of the steps: $(cat "$dir/h.events")"

# ---- what is refused ----
other() { refuses 1 "with another $1" train "${@:2}" -o "$dir/other" --checkpoints "$dir/stopped.checkpoints"; }
other "--forward-high: from step 11 there, from step 9 here" "${options[@]}" --forward-high 0.3
other "--adapt-target: 0.6 there, 0.5 here" "${options[@]}" --forward-high 0.2 --adapt-target 0.5
other "--forward-high: from step 11 there, none here" "${options[@]}"
other "--adapt: 4 there, none here" "${options[@]:0:13}"
run 1 train "${options[@]:0:13}" --precision fp4-128 --forward-high 0.5 -o "$dir/turned" --stop-at 2
refuses 1 "another --forward-high: from step 7 there, none here" train "${options[@]:0:13}" --precision fp4-128 -o "$dir/turned"
refuses 1 "another --adapt: none there, 4 here" train "${options[@]}" --precision fp4-128 -o "$dir/turned"
wrong=2
refuses 1 "options of --adapt N" train "${options[@]:0:13}" --adapt-target 0.5 -o "$out"
refuses 1 "is of low precision" train "${options[@]:0:13}" --forward-high 0.5 -o "$out"
refuses 1 "adapt-precision" train "${options[@]}" --adapt-precision fp5 -o "$out"
wrong=1
refused "train: --adapt-target 0.9 is out of reach: with the 1 of 2 layers .* at most 0.5 .*lower --adapt-target" train "${options[@]}" --adapt-target 0.9 --keep-first 1 -o "$out"
refused "train: --adapt-target 0.6 .*--adapt-precision has no format of 4 bits" train "${options[@]}" --adapt-precision mxfp8 -o "$out"
echo text >"$dir/OUT2.policies" && mkdir "$dir/OUT3.policies" && cp "$tiny/config.json" "$dir/OUT3.policies/step-00000004.json"
refuses 2 "OUT2.policies: cannot be used for the policies of --adapt" train "${options[@]}" -o "$dir/OUT2"
refuses 2 "OUT3.policies/step-00000004.json: is no policy" train "${options[@]}" -o "$dir/OUT3"
cmp -s "$tiny/config.json" "$dir/OUT3.policies/step-00000004.json" || fail "somebody's file was replaced"
rm -r "$dir"/OUT?.policies
refused "train --adapt: .*multiples of 16" train "${options[@]}" --adapt-precision nvfp4 -o "$out"
finish
