#!/usr/bin/env bash
# shardbits synth: the same files on any number of ranks, layers that are those of the whole model, a model that every command
# takes, nothing half-written.
. "$(dirname "$0")/../support/shell.sh"

synth() { # NAME RANKS ARGUMENT ...
  local name=$1 ranks=$2
  shift 2
  run "$ranks" synth -o "$dir/$name" --json "$dir/$name.json" "$@"
}

# The same bytes, also in pieces; another seed is another model.
synth one 1 --config "$model" --tokens 3000 --seed 7
for ranks in 2 3; do
  synth many $ranks --config "$model/config.json" --tokens 3000 --seed 7 --overwrite
  diff -r "$dir/one" "$dir/many" || fail "other files on $ranks ranks"
done
[ "$(value "$dir/one.json" parameters)" = 4213504 ] || fail "parameters: $(cat "$dir/one.json")"
[ "$(stat -c %s "$dir/one/tokens.bin")" = 6000 ] || fail "tokens.bin has $(stat -c %s "$dir/one/tokens.bin") bytes"
synth other 2 --config "$model" --seed 8
cmp -s "$dir/one/model.safetensors" "$dir/other/model.safetensors" && fail "another seed, the same weights"
[ ! -e "$dir/other/tokens.bin" ] || fail "tokens that nobody asked for"

# The first layers of a model are the model's, in any files; types as asked for.
synth two 3 --config "$model" --layers 2 --seed 7 --dtype f32 --file-size 0.002
/usr/bin/python3 - "$dir/one" "$dir/two" <<'PYTHON' || fail "--layers: other weights"
import glob, json, struct, sys
def load(folder):
    tensors = {}
    for name in glob.glob(folder + "/*.safetensors"):
        data = open(name, "rb").read()
        n = struct.unpack("<Q", data[:8])[0]
        for key, t in json.loads(data[8:8 + n]).items():
            if key != "__metadata__":
                a, b = t["data_offsets"]
                tensors[key] = (t["dtype"], t["shape"], data[8 + n + a:8 + n + b])
    return tensors
def rounded(f32): # to bfloat16, ties to even
    out = bytearray()
    for (x,) in struct.iter_unpack("<I", f32):
        out += struct.pack("<H", (x + 0x7FFF + (x >> 16 & 1)) >> 16)
    return bytes(out)
one, two = load(sys.argv[1]), load(sys.argv[2])
assert len(one) == 2 + 5 * 9 and len(two) == 2 + 2 * 9
assert len(glob.glob(sys.argv[2] + "/*.safetensors")) > 1
index = json.load(open(sys.argv[2] + "/model.safetensors.index.json"))
assert sorted(index["weight_map"]) == sorted(two)
config = json.load(open(sys.argv[2] + "/config.json"))
assert config["num_hidden_layers"] == 2 and config["dtype"] == "float32", config
for key in two:
    assert two[key][0] == "F32" and one[key][0] == "BF16" and one[key][1] == two[key][1]
    assert rounded(two[key][2]) == one[key][2], key
PYTHON

# Every command takes it; its loss is that of guessing, or somewhat worse: ln 2048 = 7.62.
run 2 inspect "$dir/one" --check
run 1 plan "$dir/one" --gflops 1
run 2 quantize "$dir/one" --calib "$dir/one/tokens.bin" --bits 3.25 --seqs 4 --seqlen 32 --trades 0 --quantizer rtn -o "$dir/packed"
for folder in one two packed; do
  run 2 eval "$dir/$folder" --tokens "$dir/one/tokens.bin" --seqs 4 --seqlen 64 --json "$dir/eval.json"
  loss=$(value "$dir/eval.json" loss)
  awk -v x="$loss" 'BEGIN { exit !(x > 6.5 && x < 10) }' || fail "$folder: loss $loss"
done

# A vocabulary beyond 16 bits gives ids of 32.
cat >"$dir/config.json" <<'END'
{"architectures": ["LlamaForCausalLM"], "vocab_size": 70000, "hidden_size": 64, "intermediate_size": 96,
 "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": false}
END
synth wide 3 --config "$dir/config.json" --tokens 100
[ "$(stat -c %s "$dir/wide/tokens.bin")" = 400 ] || fail "ids of a wide vocabulary"
run 1 eval "$dir/wide" --tokens "$dir/wide/tokens.bin" --seqlen 20

refused() { # TEXT ARGUMENT ...
  local text=$1
  shift
  refuses 2 "$text" synth "$@"
  [ -z "$(find "$dir" -name 'not*')" ] || fail "$*: left something"
}
refused "has 5 layers; its first 6 were asked for" --config "$model" --layers 6 -o "$dir/not"
refused "nothing: cannot be" --config "$dir/nothing" -o "$dir/not"
refused "exists and is not empty" --config "$model" -o "$dir/one"
refused "replacing it would remove .*one/config.json" --config "$dir/one/config.json" -o "$dir/one" --overwrite
refused "the folder .* that should hold it is not there" --config "$model" -o "$dir/not/there"

# Stopped while it writes: 0.9 GB take a second or more.
sed 's/70000/2000/; s/: 64/: 4096/; s/: 96/: 14336/; s/_layers": 1/_layers": 2/; s/heads": 2/heads": 32/' "$dir/config.json" \
  >"$dir/large.json"
stopped=0
for _ in 1 2 3 4; do
  start "$mpirun" 3 -q "$shardbits" synth --config "$dir/large.json" -o "$dir/not" --quiet >"$dir/out" 2>"$dir/err"
  until compgen -G "$dir/not.partial-*/model.safetensors" >/dev/null || ! running; do :; done
  kill -TERM "$job" 2>/dev/null
  wait "$job" || true
  for _ in $(seq 100); do ranks_of_job >/dev/null || break; sleep 0.1; done
  [ -z "$(find "$dir" -name 'not.*')" ] || fail "SIGTERM: left $(find "$dir" -name 'not.*')"
  if [ -e "$dir/not" ]; then # it was quicker than we, so it is whole; it may have been stopped after that
    run 1 inspect "$dir/not" --check
    rm -rf "$dir/not"
    continue
  fi
  stopped=1
  break
done
[ $stopped = 1 ] || fail "no run could be stopped while it wrote"
finish
