#!/usr/bin/env bash
# One finite weight that is far too large: what fp16 scales cannot reach is refused by name before the work, what they reach at some
# widths is warned of before it and, if it was cut off, behind it.
. "$(dirname "$0")/../support/shell.sh"

bad=$dir/bad file=$dir/bad/model.safetensors name=model.layers.0.mlp.down_proj.weight
poke() { # BYTES: a bf16 number, [0, 0] of the tensor
  rm -rf "$bad" && cp -r "$tiny" "$bad"
  local header begin
  header=$(od -An -tu8 -N8 "$file" | tr -d ' ')
  begin=$(dd if="$file" bs=1 skip=8 count="$header" status=none |
    sed -n "s/.*\"$name\":{[^}]*\"data_offsets\":\[\([0-9]*\),.*/\1/p")
  [ -n "$begin" ] || fail "the test is wrong: no $name in $file"
  # shellcheck disable=SC2059
  printf "$1" | dd of="$file" bs=1 seek=$((8 + header + begin)) conv=notrunc status=none
}
quantize() { # RANKS OUT ARGUMENT ...: $code, lines in $dir/log
  local ranks=$1 to=$2
  shift 2
  "$mpirun" "$ranks" -q "$shardbits" quantize "$bad" --calib "$tiny_tokens" --token-dtype u16 --seqlen 48 --bits 3 --block 16x32 --embed-bits 16 \
    -o "$to" --json "$to.json" "$@" 2>&1 | tr '\r' '\n' >"$dir/log"
  code=${PIPESTATUS[0]}
}

poke '\x15\x50' # 1e10
refused "$name.0, 0. has a magnitude of 1e+10" quantize "$bad" --calib "$tiny_tokens" --token-dtype u16 --seqlen 48 --bits 3 --block 16x32 -o "$out"

# Inputs that cannot be squared and added up: layer and matrix are named, before the search.
name=model.layers.0.self_attn.v_proj.weight
poke '\x18\x4b' # 1e7
refused "layer 0: the inputs of model.layers.0.self_attn.o_proj.weight are not finite, or so large" quantize "$bad" --calib "$tiny_tokens" \
  --token-dtype u16 --seqlen 48 --bits 3 --block 16x32 -o "$out"
name=model.layers.0.mlp.down_proj.weight

poke '\x74\x49' # 1e6
for ranks in 1 3; do
  quantize $ranks "$dir/out$ranks"
  [ "$code" = 0 ] || fail "on $ranks ranks: $(cat "$dir/log")"
  [ "$(grep -c "^warning: $name.0, 0. has a magnitude of 9.99e+05 .*from 5 bits on" "$dir/log")" = 1 ] ||
    fail "on $ranks ranks, no warning of the weight: $(cat "$dir/log")"
  [ "$(grep -c "^warning: groups whose scale is beyond fp16's 65504: 1, the first in $name;" "$dir/log")" = 1 ] ||
    fail "on $ranks ranks, no warning of what was cut off: $(cat "$dir/log")"
  [ "$(value "$dir/out$ranks.json" groups_cut_off)" = 1 ] || fail "on $ranks ranks: $(cat "$dir/out$ranks.json")"
done
quantize 1 "$dir/kept" --min-bits 5 --bits 6.5
[ "$code" = 0 ] && ! grep "65504" "$dir/log" || fail "with --min-bits 5: $(cat "$dir/log")"
finish
