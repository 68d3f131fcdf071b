#!/usr/bin/env bash
# The commands of README.md's section on training, as they stand there but for fewer steps and tokens.
. "$(dirname "$0")/../support/shell.sh"

cd "$dir" || exit 1
ln -s "$source/data" data
sed -n '/^## Train with a measured policy/,/^## /p' "$source/README.md" | sed -n '/^```sh$/,/^```$/p' | grep -v '^```' >commands
[ "$(grep -c '\<shardbits ' commands)" = 3 ] || fail "not three commands: $(cat commands)"
shardbits() { "$shardbits" "$@" --quiet; }
mpirun() { # -n RANKS shardbits ...
  "$mpirun" "$2" "$shardbits" "${@:4}" --quiet
}
# A profile of 20 x 8 batches is what takes long, and a hundred steps.
sed -i 's/ --precision fp8-128,nvfp4/& --batch 2 --warmup 1/; s/--steps 100/--steps 2/; s/--eval-tokens [^ ]*/& --eval-seqs 2/' commands
grep -q -- '--warmup 1' commands && grep -q -- '--steps 2 ' commands && grep -q -- '--eval-seqs 2' commands || fail "other options: $(cat commands)"
set -e
# shellcheck disable=SC1091
. ./commands >out 2>err || { cat err && exit 1; }
set +e
[ -s policy.svg ] && [ -s trained/model.safetensors ] || fail "no picture, or no model: $(ls)"
grep -q '75.* in FP4' out || fail "no share of FP4: $(cat out)"
grep -q 'held-out loss' out || fail "no held-out loss: $(cat out)"
refuses 1 "policy.json: made for another model" train "$tiny" --tokens data/calib.bin --steps 2 --policy policy.json -o "$out"
finish
