#!/usr/bin/env bash
# Text in place of tokens: the same results as from a token file that something else made of it, on any number of ranks and in every
# command; kept and used again; one line where it cannot be done. A stand-in is the tokenizer (tests/program/python); text_in_real.sh
# has the real one.
. "$(dirname "$0")/../support/shell.sh"

export SHARDBITS_PYTHON=/usr/bin/python3 PYTHONPATH=$source/tests/program/python XDG_CACHE_HOME=$dir/cache PIP_NO_INDEX=1
m=$dir/model
mkdir "$m"
cp "$model/config.json" "$model/model.safetensors" "$m"
echo '{"vocab": 2048, "added": 1, "bos": 7}' >"$m/tokenizer.json"
/usr/bin/python3 - "$source" "$dir" <<'EOF'
import json, struct, sys
source, out = sys.argv[1:]
text = open(source + "/docs/results.md", encoding="utf-8").read()[:24000]
def put(name, ids): open(out + "/" + name, "wb").write(struct.pack("<%dH" % len(ids), *ids))
def ids(text): return [b + 256 for b in text.encode()]
parts = [text[i:i + 1000] for i in range(0, len(text), 1000)]
crossed = parts[:2] + ["one\r\ntwo\u2028three\u00e9"] + parts[2:]
open(out + "/a.txt", "w", encoding="utf-8", newline="").write("\ufeff" + text.replace("\n", "\r\n"))
put("a.bin", ids(text.replace("\n", "\r\n")))
with open(out + "/b.jsonl", "w", encoding="utf-8", newline="") as f:
    for i, part in enumerate(crossed):
        f.write(json.dumps({"id": i, "text": part}, ensure_ascii=i % 2 == 0) + ("\n\n" if i == 3 else "\n"))
    f.write('{"text": ""}')
put("b.bin", ids("".join(crossed)))
put("bos.bin", [i for part in crossed for i in [7] + ids(part)])
put("both.bin", ids(text.replace("\n", "\r\n")) + ids("".join(crossed)))
chats = [[{"role": "user", "content": part[:500]}, {"role": "assistant", "content": part[500:]}] for part in parts]
with open(out + "/chat.jsonl", "w") as f:
    for i, chat in enumerate(chats):
        row = {"messages": chat} if i % 3 == 0 else {"prompt": chat[0]["content"], "completion": chat[1]["content"]} if i % 3 == 1 else \
            {"conversations": [{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in chat]}
        f.write(json.dumps(row) + "\n")
put("chat.bin", ids("".join("[user]%s</s>[assistant]%s</s>2024" % tuple(m["content"] for m in chat) for chat in chats)))
EOF
asked=(--seqlen 64 --seqs 6)
loss() { # RANKS ARGUMENT ...
  run "$1" eval "$m" "${asked[@]}" --json "$dir/loss.json" "${@:2}"
  value "$dir/loss.json" loss
}

# ---- eval ----
for name in a.txt b.jsonl; do
  expected=$(loss 1 --tokens "$dir/${name%.*}.bin")
  [ "$(loss 3 --tokens "$dir/$name")" = "$expected" ] || fail "eval: another loss of $name"
done
[ "$(SHARDBITS_PYTHON=/nowhere loss 1 --tokens "$dir/b.jsonl")" = "$expected" ] || fail "eval: another loss of b.jsonl as it was kept"
[ "$(find "$m.tokens" -type f | wc -l)" = 2 ] || fail "kept: $(ls "$m.tokens")"
cmp <(tail -c +129 "$m.tokens"/a-*.npy) "$dir/a.bin" || fail "other ids"
/usr/bin/python3 -c '
import numpy, sys
ids = numpy.load(sys.argv[1])
assert ids.dtype == numpy.uint16 and (ids == numpy.fromfile(sys.argv[2], "<u2")).all()' "$m.tokens"/b-*.npy "$dir/b.bin" || fail "no .npy file"
[ "$(loss 1 --tokens "$dir/b.jsonl" --special-tokens)" = "$(loss 1 --tokens "$dir/bos.bin")" ] || fail "special tokens"
printf '%s' '{% for m in messages %}[{{ m.role }}]{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% if loop.index > 1 %}{% break %}{% endif %}{% endfor %}{{ strftime_now("%Y") }}' >"$m/chat_template.jinja"
echo '{"eos_token": {"content": "</s>"}}' >"$m/tokenizer_config.json"
[ "$(loss 1 --tokens "$dir/chat.jsonl" --chat-template)" = "$(loss 1 --tokens "$dir/chat.bin")" ] || fail "chat template"
echo '{{ raise_exception("no such role") }}' >"$m/chat_template.jinja" # another template: tokenized again
refuses 1 'chat.jsonl: line 1 the model.s chat template refuses it: no such role' eval "$m" --tokens "$dir/chat.jsonl" --chat-template
rm "$m/chat_template.jinja"
cp "$dir/b.jsonl" "$dir/changed.jsonl"
loss 1 --tokens "$dir/changed.jsonl" >/dev/null
echo '{"text": "more"}' >>"$dir/changed.jsonl"
SHARDBITS_PYTHON=/nowhere refuses 1 'there is no /nowhere' eval "$m" --tokens "$dir/changed.jsonl" # not what was kept

# ---- the other commands, and lists and patterns ----
options=(--method rtn --bits 3 --quantizer rtn --grid fitted "${asked[@]}")
run 1 quantize "$m" --calib "$dir/b.bin" "${options[@]}" -o "$dir/q0" --json "$dir/q0.json"
run 2 quantize "$m" --calib "$dir/b.jsonl" "${options[@]}" -o "$dir/q1" --json "$dir/q1.json"
[ "$(value "$dir/q0.json" content_hash)" = "$(value "$dir/q1.json" content_hash)" ] || fail "quantize: another output"
[ -n "$(find "$dir/q1.tokens" -name 'b-*.npy')" ] || fail "quantize: its tokens are not kept beside its output"
options=(--steps 2 --batch 3 --seqlen 64 --save-every 0)
run 1 train "$m" --tokens "$dir/a.bin:2,$dir/b.bin:1" --eval-tokens "$dir/b.bin" "${options[@]}" -o "$dir/t0" --json "$dir/t0.json"
run 3 train "$m" --tokens "$dir/a.txt:2,$dir/b.jsonl:1" --eval-tokens "$dir/b.jsonl" "${options[@]}" -o "$dir/t1" --json "$dir/t1.json" \
  --token-cache "$m.tokens"
cmp "$dir/t0/model.safetensors" "$dir/t1/model.safetensors" || fail "train: other weights"
[ "$(value "$dir/t0.json" heldout_loss)" = "$(value "$dir/t1.json" heldout_loss)" ] || fail "train: another held-out loss"
[ ! -e "$dir/t1.tokens" ] || fail "train: tokens beside its output, and not where they are to be"
[ -n "$(find "$dir/q1" -name tokenizer.json)" ] || fail "quantize: no tokenizer in its output"
run 1 eval "$dir/q1" "${asked[@]}" --tokens "$dir/b.jsonl" --json "$dir/loss.json" # of an output, with the tokens that quantize has made
[ "$(value "$dir/loss.json" token_file)" = "$dir/b.jsonl" ] || fail "eval: its report names $(value "$dir/loss.json" token_file)"
[ "$(find "$dir/q1.tokens" -name 'b-*.npy' | wc -l)" = 1 ] || fail "eval: other tokens than quantize's: $(ls "$dir/q1.tokens")"
mkdir "$dir/wide" # ids of more than 16 bits, and a tokenizer beside a configuration
sed 's/"vocab_size": *[0-9]*/"vocab_size": 70000/' "$tiny/config.json" >"$dir/wide/config.json"
echo '{"vocab": 70000, "offset": 69000}' >"$dir/wide/tokenizer.json"
run 2 train "$dir/wide/config.json" --tokens "$dir/a.txt" --steps 1 --batch 2 --seqlen 16 --save-every 0 -o "$dir/w"
/usr/bin/python3 -c '
import numpy, sys
ids = numpy.load(sys.argv[1])
assert ids.dtype == numpy.uint32 and (ids == numpy.fromfile(sys.argv[2], "<u2").astype(int) - 256 + 69000).all()' "$dir/w.tokens"/a-*.npy "$dir/a.bin" ||
  fail "ids of more than 16 bits"
mkdir "$dir/p"
cp "$dir/a.txt" "$dir/p/1.txt"
/usr/bin/python3 -c 'import json, sys
print("".join(json.loads(l)["text"] for l in open(sys.argv[1], newline="\n") if l.strip()), end="")' "$dir/b.jsonl" >"$dir/p/2.txt"
run 1 train "$m" --tokens "$dir/p/*.txt" --steps 1 --batch 1 --seqlen 16 --save-every 0 -o "$dir/t2"
cmp <(tail -c +129 "$dir/t2.tokens"/*.npy) "$dir/both.bin" || fail "train: other ids from a pattern"

# ---- what cannot be done ----
no() { # TEXT TOKENS ARGUMENT ...: also leaves no folder of tokens
  refuses 1 "$1" eval "$m" --tokens "$dir/$2" --token-cache "$dir/none" "${@:3}"
  [ ! -e "$dir/none" ] || fail "$1: left $(ls "$dir/none")"
}
put() { printf '%b' "$2" >"$dir/$1"; }
put bad.txt 'ab\xff' && no 'bad.txt: not UTF-8' bad.txt
put empty.txt '' && no 'empty.txt: the text gives no tokens' empty.txt
put bad.jsonl '{"text": "a"}\n{"text": 5}\n' && no 'bad.jsonl: line 2 has no "text"' bad.jsonl
put bad.jsonl '{"text": "a"}\n\n{"text"\n' && no 'bad.jsonl: line 3 is not JSON' bad.jsonl
put bad.jsonl '{"messages": []}\n' && no 'bad.jsonl: line 1 has a conversation and no text; --chat-template' bad.jsonl
no 'a.txt: --chat-template is for .jsonl' a.txt --chat-template
wrong=2 no 'a.bin: --special-tokens is for text' a.bin --special-tokens
no 'gone.jsonl: cannot be opened' gone.jsonl
SHARDBITS_PYTHON=/bin/false no 'a.txt: /bin/false could not tokenize it: it ended without a word' a.txt
echo '{"vocab": 49152}' >"$m/tokenizer.json" && no 'tokenizer.json: has 49152 tokens and the model a vocabulary of 2048' a.txt
echo '{"vocab": 1000}' >"$m/tokenizer.json" && no 'tokenizer.json: has 1000 tokens and the model a vocabulary of 2048' a.txt
echo '{"vocab": 2048, "bos": 2048, "added": 1}' >"$m/tokenizer.json" && no 'token 2048 (<2048>) is not among the first 2048' a.txt --special-tokens
echo '{}' >"$m/tokenizer.json" && no 'tokenizer.json: not a tokenizer: no vocabulary$' a.txt
rm "$m/tokenizer.json" && no 'a.txt: is text, and .*tokenizer.json is not there' a.txt
echo '{"vocab": 2048}' >"$m/tokenizer.json"
mkdir "$dir/hidden"
PYTHONPATH=$dir/hidden no 'the Python package tokenizers is missing (.*); where pip has a network: /usr/bin/python3 -m pip install tokenizers' a.txt
touch "$dir/file"
refuses 3 'file/x: cannot be made for the tokens of .*a.txt (Not a directory); choose a folder by --token-cache' \
  eval "$m" --tokens "$dir/a.txt" --token-cache "$dir/file/x"
refuses 1 'bad.jsonl: line 1' reorder "$m" --calib "$dir/bad.jsonl" -o "$dir/none"
refuses 1 'bad.jsonl: line 1' profile "$m" --tokens "$dir/a.txt,$dir/bad.jsonl" --precision mxfp8 --json "$dir/none.json"
out=$dir/OUT refused 'bad.jsonl: line 1 has a conversation' quantize "$m" --calib "$dir/bad.jsonl" --bits 3 -o "$dir/OUT"

# ---- a run that is ended while its text is tokenized ----
export SLEEPER=$dir/sleeper
for signal in TERM KILL; do
  echo '{"vocab": 2048, "sleep": 60}' >"$m/tokenizer.json"
  rm -f "$SLEEPER"
  start "$mpirun" 2 -q "$shardbits" eval "$m" --tokens "$dir/a.txt" --token-cache "$dir/none" >"$dir/out" 2>"$dir/err"
  for _ in $(seq 500); do [ -s "$SLEEPER" ] && break; sleep 0.01; done
  sleeper=$(cat "$SLEEPER")
  kill -0 "$sleeper" || fail "it does not tokenize"
  signal_ranks $signal
  wait "$job" && fail "$signal: success"
  for _ in $(seq 200); do kill -0 "$sleeper" 2>/dev/null || break; sleep 0.01; done
  kill -0 "$sleeper" 2>/dev/null && fail "$signal: Python goes on"
  [ $signal = KILL ] || [ -z "$(ls "$dir/none")" ] || fail "$signal: left $(ls "$dir/none")"
done
finish
