#!/usr/bin/env bash
# Every kind of bad input: one line from one rank that names the file and says what is wrong, exit code 1, nothing written,
# within seconds, on one rank and on three.
. "$(dirname "$0")/../support/shell.sh"

good=$source/tests/golden/gqa-tied    # one file, bf16
cut=$source/tests/golden/sharded-f16  # three files
tokens=$good/tokens.bin

copy() { # FROM: a model folder that may be spoilt, in $bad
  bad=$dir/bad
  rm -rf "$bad"
  cp -r "$1" "$bad"
}
quantize() { # TEXT MODEL [ARGUMENT ...]
  local text=$1 model=$2
  shift 2
  refused "$text" quantize "$model" --calib "$tokens" --bits 3 --block 16x32 --seqlen 48 -o "$out" "$@"
}
u64() { # NUMBER: 8 bytes, little-endian
  local n=$1
  for _ in 1 2 3 4 5 6 7 8; do
    # shellcheck disable=SC2059
    printf "\\x$(printf %02x $((n & 255)))"
    n=$((n >> 8))
  done
}
header_of() { # FILE
  local n
  n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
  dd if="$1" bs=1 skip=8 count="$n" status=none
}
replace_header() { # FILE HEADER: keeps the data
  local n
  n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
  tail -c +$((9 + n)) "$1" >"$dir/data"
  { u64 ${#2} && printf %s "$2" && cat "$dir/data"; } >"$dir/new"
  mv "$dir/new" "$1"
}

# ---- safetensors
copy "$good" && truncate -s 100000 "$bad/model.safetensors"
quantize "$bad/model.safetensors: .*truncated" "$bad"
copy "$good" && truncate -s 4 "$bad/model.safetensors"
quantize "$bad/model.safetensors: " "$bad"
copy "$good" && { u64 999999999 && echo '{}'; } >"$bad/model.safetensors"
quantize "$bad/model.safetensors: .*999999999" "$bad"
copy "$good" && { u64 8 && printf 'not json'; } >"$bad/model.safetensors"
quantize "$bad/model.safetensors: header: " "$bad"
copy "$good" && header=$(header_of "$bad/model.safetensors")
twice=${header/'"model.norm.weight"'/'"model.embed_tokens.weight"'}
replace_header "$bad/model.safetensors" "$twice"
quantize "$bad/model.safetensors: header: .*duplicate" "$bad"
copy "$good" && offsets=$(printf %s "$header" | grep -o '"model.norm.weight":{[^}]*}' | grep -o '\[[0-9]*,[0-9]*\]}' | tr -d '[]}')
low=${offsets%,*} high=${offsets#*,}
replace_header "$bad/model.safetensors" "${header/"[$low,$high]"/"[$((low - 32)),$((high - 32))]"}"
quantize "$bad/model.safetensors: .*overlap" "$bad"
copy "$good" && replace_header "$bad/model.safetensors" "${header/'"BF16"'/'"I16"'}"
quantize "I16" "$bad"
copy "$good" && rm "$bad/model.safetensors"
quantize "$bad: .*safetensors" "$bad"
copy "$cut" && rm "$bad/model-00002-of-00003.safetensors"
refused "the shard model-00002-of-00003.safetensors that it names is missing" quantize "$bad" --calib "$bad/tokens.bin" --bits 3 -o "$out"
copy "$good" && printf '\x80\x7f' | dd of="$bad/model.safetensors" bs=1 seek=$(($(stat -c %s "$bad/model.safetensors") - 4)) conv=notrunc status=none
quantize "model.norm.weight.0, 46. is not a finite number" "$bad"
copy "$good" && printf '\xff\xff' | dd of="$bad/model.safetensors" bs=1 seek=$(($(stat -c %s "$bad/model.safetensors") - 4)) conv=notrunc status=none
quantize "model.norm.weight.0, 46. is not a finite number" "$bad"

# ---- config.json
edit() { # SED: a copy with another config.json
  copy "$good" && sed -i "$1" "$bad/config.json"
  cmp -s "$bad/config.json" "$good/config.json" && fail "the test is wrong: '$1' changes nothing"
}
edit 's/"num_hidden_layers": 2/"num_hidden_layers": 3/'
quantize "model.layers.2.* is missing" "$bad"
edit 's/"intermediate_size": 136/"intermediate_size": 144/'
quantize "shape .*136.*144" "$bad"
edit 's/LlamaForCausalLM/GPT2LMHeadModel/; s/"llama"/"gpt2"/'
quantize "GPT2LMHeadModel.*Llama" "$bad"
edit 's/"hidden_size": 48/"hidden_size": "48"/'
quantize "$bad/config.json: .*hidden_size" "$bad"
edit 's/}$/"hidden_size": 48}/'
quantize "$bad/config.json: " "$bad"
copy "$good" && rm "$bad/config.json"
quantize "$bad/config.json: .*No such file" "$bad"
quantize "$dir/nothing" "$dir/nothing"

# ---- tokens
{ head -c 100 "$tokens" && printf '\x04\x01' && tail -c +103 "$tokens"; } >"$dir/id.bin" # 260, the vocabulary's size
quantize "$dir/id.bin: .*260" "$good" --calib "$dir/id.bin" --token-dtype u16
# in a window that the search does not read but rounding does, and in one that only training reads: found before the search
for later in "--round-seqs 9 --tune-seqs 0" "--quantizer rtn --tune-seqs 9"; do
  # shellcheck disable=SC2086
  quantize "$dir/id.bin: .*260" "$good" --calib "$dir/id.bin" --token-dtype u16 --seqs 1 --check-seqs 0 --allocation "$dir/bits.json" $later
  [ ! -e "$dir/bits.json" ] || fail "$later: a bad token was found after the search"
done
head -c 40 "$tokens" >"$dir/short.bin"
quantize "$dir/short.bin: .*20.*48" "$good" --calib "$dir/short.bin" --token-dtype u16
: >"$dir/empty.bin"
quantize "$dir/empty.bin: " "$good" --calib "$dir/empty.bin"
head -c 101 "$tokens" >"$dir/odd.bin"
quantize "$dir/odd.bin: " "$good" --calib "$dir/odd.bin" --token-dtype u16
echo text >"$dir/text.md"
quantize "$dir/text.md: " "$good" --calib "$dir/text.md"
quantize "$dir/none.bin: " "$good" --calib "$dir/none.bin"

# ---- budget
quantize "--bits 0.9: .* to " "$good" --bits 0.9
quantize "--bits 15: .* to " "$good" --bits 15
quantize "--bits 0.9: .* to " "$good" --bits 0.9 --method rtn

# ---- output
mkdir "$dir/full" && touch "$dir/full/precious"
quantize "$dir/full: exists and is not empty" "$good" -o "$dir/full"
quantize "$dir/full: .*--overwrite will not remove it" "$good" -o "$dir/full" --overwrite
[ -e "$dir/full/precious" ] || fail "a folder of another kind was replaced"
quantize "$dir/full/precious: exists and is not a folder" "$good" -o "$dir/full/precious"
quantize "the folder $dir/none that should hold it is not there" "$good" -o "$dir/none/out"
if [ "$(id -u)" = 0 ]; then
  quantize "/proc/out.*: cannot be created" "$good" -o /proc/out # where not even root can write
else
  mkdir "$dir/locked" && chmod 500 "$dir/locked"
  quantize "$dir/locked is not writable" "$good" -o "$dir/locked/out"
  chmod 700 "$dir/locked"
fi
finish
