#!/usr/bin/env bash
# Text into SmolLM2 by Hugging Face's own tokenizers: which the program lets pip install, where nothing of Python's is there but pip;
# the same ids as transformers gives, for plain text, text with special tokens, and conversations.
. "$(dirname "$0")/common.sh"

text=$source/data/text/calib.txt
python=${SHARDBITS_PYTHON:-python3}
"$python" -m venv "$dir/bare" && "$python" -m venv "$dir/peer" || { echo "no environment of Python's"; exit 1; }
export SHARDBITS_PYTHON=$dir/bare/bin/python XDG_CACHE_HOME=$dir/cache
unset PYTHONPATH
cp -rs "$(readlink -f "$model")" "$dir/m" && m=$dir/m
/usr/bin/python3 - "$text" "$dir" <<'EOF'
import json, sys
parts = [p for p in open(sys.argv[1], encoding="utf-8").read().split("\n\n") if len(p) > 20][:900]
with open(sys.argv[2] + "/rows.jsonl", "w", encoding="utf-8") as f:
    for p in parts: f.write(json.dumps({"text": p + " \u00fc\u4e2d\U0001f600"}, ensure_ascii=False) + "\n")
with open(sys.argv[2] + "/chat.jsonl", "w", encoding="utf-8") as f:
    for i in range(0, len(parts) - 2, 3):
        system = [{"role": "system", "content": parts[i + 2]}] if i % 2 else []
        f.write(json.dumps({"messages": system + [{"role": "user", "content": parts[i]}, {"role": "assistant", "content": parts[i + 1]}]}) + "\n")
EOF

# ---- what make_tokens.py made when the model was fetched ----
evaluate() { on_two eval "$m" --seqlen 128 --seqs 4 --json "$dir/j.json" "$@"; value "$dir/j.json" loss; }
[ "$(evaluate --tokens "$text")" = "$(evaluate --tokens "$m/calib.bin")" ] || fail "another loss of calib.txt"
[ -n "$(find "$dir/cache/shardbits" -path '*/tokenizers/__init__.py')" ] || fail "pip installed nothing into a folder of the program's"
"$SHARDBITS_PYTHON" -c 'import tokenizers' 2>/dev/null && fail "pip installed into the user's Python"
cmp <(tail -c +129 "$dir/m.tokens"/calib-*.npy) "$m/calib.bin" || fail "other ids of calib.txt"
evaluate --tokens "$dir/rows.jsonl" >/dev/null
evaluate --tokens "$dir/chat.jsonl" --chat-template >/dev/null

# ---- transformers, beside them ----
"$dir/peer/bin/python" -m pip install -q --disable-pip-version-check transformers jinja2 numpy >"$dir/log" 2>&1 ||
  { echo "pip cannot install transformers: $(tail -n 1 "$dir/log")"; exit 1; }
same() { # LINES NAME: ids of the .jsonl as LINES of Python say
  "$dir/peer/bin/python" - "$m" "$dir/$2.jsonl" "$dir/m.tokens/$2"-*.npy >"$dir/log" 2>&1 <<EOF || fail "$2: $(tail -n 3 "$dir/log")"
import json, sys
import numpy
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
rows = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
expected = [i for row in rows for i in ($1)]
ids = numpy.load(sys.argv[3])
assert len(ids) == len(expected), "%d ids, transformers has %d" % (len(ids), len(expected))
assert (ids == expected).all(), "other ids from %d on" % numpy.flatnonzero(ids != expected)[0]
EOF
}
same 'tokenizer(row["text"], add_special_tokens=False)["input_ids"]' rows
same 'tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)' chat
# A tokenizer that begins texts, as that of Llama 3 does.
"$dir/peer/bin/python" - "$m" >"$dir/log" 2>&1 <<'EOF' || fail "no tokenizer with BOS: $(tail -n 1 "$dir/log")"
import os, sys
from tokenizers import Tokenizer, processors
path = sys.argv[1] + "/tokenizer.json"
tokenizer = Tokenizer.from_file(path)
bos = tokenizer.token_to_id("<|im_start|>")
tokenizer.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)])
os.unlink(path)
tokenizer.save(path)
EOF
rm -r "$dir/m.tokens"
evaluate --tokens "$dir/rows.jsonl" --special-tokens >/dev/null
same 'tokenizer(row["text"])["input_ids"]' rows
"$dir/peer/bin/python" -c 'import numpy, sys
ids = numpy.load(sys.argv[1])
assert ids[0] == 1 and (ids == 1).sum() == 900, ids[:4]' "$dir/m.tokens"/rows-*.npy || fail "no BOS before each text"

# ---- the whole way: the same output as from the token file ----
rm "$m/tokenizer.json" && cp "$model/tokenizer.json" "$m/tokenizer.json"
options=(--method rtn --bits 3 --grid fitted --seqlen 128 --seqs 4)
on_two quantize "$m" --calib "$m/calib.bin" "${options[@]}" -o "$dir/q0" --json "$dir/q0.json"
on_two quantize "$m" --calib "$text" "${options[@]}" -o "$dir/q1" --json "$dir/q1.json"
[ "$(value "$dir/q0.json" content_hash)" = "$(value "$dir/q1.json" content_hash)" ] || fail "another output from text"
finish
