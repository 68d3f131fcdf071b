#!/usr/bin/env bash
# Budgets: the limits that a refusal names are accepted themselves, for wide and narrow blocks and every method; a far budget is
# used, or a line and the report say what is left of it and why.
. "$(dirname "$0")/../support/shell.sh"

quick=(--calib "$tiny_tokens" --token-dtype u16 --seqs 2 --seqlen 24 --quantizer rtn --grid plain -o "$out" --overwrite)

# ---- named limits
limits() { # [ARGUMENT ...]: sets low and high from the refusal of a budget that is too low
  refuses 1 "effective bits a weight" quantize "$tiny" "${quick[@]}" "$@" --bits 0.5
  low=$(sed -n 's/.*\(can have\|take\) \([0-9.]*\) .*effective bits a weight.*/\2/p' "$dir/stderr")
  high=$(sed -n 's/.* to \([0-9.]*\) effective bits a weight.*/\1/p' "$dir/stderr")
  [ -n "$low" ] || fail "no range in: $(cat "$dir/stderr")"
  : "${high:=$low}"
}
for kind in "--block 128x128" "--block 128x8 --min-bits 1" "--block 64x7 --min-bits 1" "--block 32x4 --symmetric --min-bits 1"; do
  for method in scalebits table layer rtn; do
    [ $method = scalebits ] || [ $method = rtn ] || [ "$kind" = "--block 128x8 --min-bits 1" ] || continue
    # shellcheck disable=SC2086
    limits $kind --method $method
    for bits in "$low" "$high"; do
      # shellcheck disable=SC2086
      run 2 quantize "$tiny" "${quick[@]}" $kind --method $method --trades 0 --bits "$bits"
    done
  done
done

# ---- a budget far above the start
run 1 quantize "$tiny" "${quick[@]}" --sensitivity fisher --start-bits 2 --strides 1 --trades 0 --bits 6 --json "$dir/far.json"
"$shardbits" quantize "$tiny" "${quick[@]}" --method rtn --bits 3.9 --json "$dir/rtn.json" >/dev/null 2>"$dir/stderr" ||
  fail "rtn: $(cat "$dir/stderr")"
/usr/bin/python3 - "$dir" <<'PYTHON' || fail "what is left of a budget"
import json, sys
d = sys.argv[1]
for name, bits, line in (("far", 6, None), ("rtn", 3.9, "all blocks have one width")):
    r = json.load(open(f"{d}/{name}.json"))
    print(name, r["effective_bits"], r["unused_bits"], r.get("unused_why"))
    assert abs(r["effective_bits"] + r["unused_bits"] - bits) < 1e-3
    if name == "far":
        assert max(s["effective_bits"] for s in r["search"]) > 5.9
    else:
        assert line in r["unused_why"]
    if r["unused_bits"] > 0.01:
        assert r["unused_why"]
PYTHON
grep -q "are left over: all blocks have one width" "$dir/stderr" || fail "no line about the rest: $(cat "$dir/stderr")"
finish
