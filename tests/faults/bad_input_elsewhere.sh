#!/usr/bin/env bash
# Bad models, tokens and budgets for the commands and in the ways that bad_input does not try.
. "$(dirname "$0")/../support/shell.sh"

bad=$dir/bad
copy() { rm -rf "$bad" && cp -r "$tiny" "$bad"; }
edit() { # SED: a copy with another config.json
  copy && sed -i "$1" "$bad/config.json"
  cmp -s "$bad/config.json" "$tiny/config.json" && fail "the test is wrong: '$1' changes nothing"
}
rtn() { # TEXT MODEL [ARGUMENT ...]
  local text=$1 from=$2
  shift 2
  refused "$text" quantize "$from" --method rtn --bits 3 --block 16x32 -o "$out" "$@"
}
eval_of() { refused "$1" eval "$2" --tokens "${3:-$tiny_tokens}" --token-dtype u16 --seqlen "${4:-48}"; }

# a dtype that contradicts config.json is a label: what is stored counts
edit 's/"torch_dtype": "bfloat16"/"torch_dtype": "float32"/'
run 2 quantize "$bad" --method rtn --bits 3 --block 16x32 -o "$out" && rm -r "$out"
sed -i '/"torch_dtype"/d' "$bad/config.json"
run 2 quantize "$bad" --method rtn --bits 3 --block 16x32 -o "$out" && rm -r "$out"

# shape and architecture, for the commands that only read
edit 's/"num_key_value_heads": 2/"num_key_value_heads": 4/'
eval_of "k_proj.weight has shape .24, 48., but config.json makes it .48, 48." "$bad"
refused "k_proj.weight has shape" inspect "$bad"
edit 's/LlamaForCausalLM/MixtralForCausalLM/'
for command in inspect "plan --ranks 2"; do
  # shellcheck disable=SC2086
  refused "architecture MixtralForCausalLM is not supported; supported are LlamaForCausalLM" $command "$bad"
done

# NaN and infinity in a matrix that some other rank than the first reads
copy && weights=$bad/model.safetensors
data=$((8 + $(od -An -tu8 -N8 "$weights" | tr -d ' ')))
low=$(grep -ao '"model.layers.1.mlp.gate_proj.weight":{[^}]*}' "$weights" | sed 's/.*"data_offsets":\[\([0-9]*\),.*/\1/')
for value in '\xc0\x7f' '\x80\xff'; do # NaN, minus infinity
  # shellcheck disable=SC2059
  printf "$value" | dd of="$weights" bs=1 seek=$((data + low + 2 * (7 * 48 + 5))) conv=notrunc status=none
  rtn "model.layers.1.mlp.gate_proj.weight.7, 5. is not a finite number; the weights are damaged" "$bad"
  eval_of "gate_proj.weight.7, 5. is not a finite number" "$bad"
done

# tokens
{ head -c 100 "$tiny_tokens" && printf '\xff\xff' && tail -c +103 "$tiny_tokens"; } >"$dir/id.bin"
eval_of "$dir/id.bin: token 50 has id 65535 but the model's vocabulary has 260 ids" "$tiny" "$dir/id.bin"
eval_of "tokens.bin: has 96 tokens, fewer than one sequence of 97; use a longer file or a shorter --seqlen" "$tiny" "$tiny_tokens" 97

# A budget that cannot be: the range is in the line, and its ends can be had.
rtn "--bits 2.4: .* can have 2.445 to 9.12 effective bits a weight" "$tiny" --bits 2.4
rtn "--bits 2.5: .* at 2 to 8 bits can have 2.879 to 9.12 effective bits" "$tiny" --bits 2.5 --min-bits 2
run 2 quantize "$tiny" --method rtn --block 16x32 --bits 2.445 -o "$out" && rm -r "$out"

# an output below a file, and one whose place is taken by a link to nowhere
rtn "OUT/x: .*$tiny_tokens, that should hold it, is not a folder\|$tiny_tokens/x: " "$tiny" -o "$tiny_tokens/x"
ln -s "$dir/nowhere" "$dir/dangling"
rtn "dangling: exists and is not a folder; choose another output folder" "$tiny" -o "$dir/dangling"
finish
