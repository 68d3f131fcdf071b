#!/usr/bin/env bash
# What the program says and returns for wrong and for informative command lines: one line on stderr that starts with
# "shardbits: ", exit code 2 (1 for other errors), from one rank only. RANKS is the argument: 0 starts without mpirun.
. "$(dirname "$0")/../support/shell.sh"
ranks=$4

run() {
  if [ "$ranks" = 0 ]; then
    "$shardbits" "$@" >"$dir/out" 2>"$dir/err"
  else
    # ranks that agree on a failure end together: no second's grace before mpirun kills what is left
    OMPI_MCA_odls_base_sigkill_timeout=0 "$mpirun" "$ranks" -q "$shardbits" "$@" >"$dir/out" 2>"$dir/err"
  fi
  code=$?
  # Open MPI's own event library sometimes grumbles while mpirun takes the job down
  sed -i '/^\[warn\] Epoll MOD/d' "$dir/err"
}

fail() {
  echo "FAILED: $*"
  sed 's/^/  out: /' "$dir/out"
  sed 's/^/  err: /' "$dir/err"
  failures=$((failures + 1))
}

# wrong CODE TEXT ARGUMENT ...
wrong() {
  local want=$1 text=$2
  shift 2
  run "$@"
  [ "$code" = "$want" ] || fail "shardbits $*: exit code $code, expected $want"
  [ "$(wc -l <"$dir/err")" = 1 ] || fail "shardbits $*: not one line on stderr"
  [ -s "$dir/out" ] && fail "shardbits $*: something on stdout"
  grep -q "^shardbits: .*$text" "$dir/err" || fail "shardbits $*: does not say '$text'"
}

# right TEXT ARGUMENT ...: exit code 0, nothing on stderr, one copy of the text
right() {
  local text=$1
  shift
  run "$@"
  [ "$code" = 0 ] || fail "shardbits $*: exit code $code"
  [ -s "$dir/err" ] && fail "shardbits $*: something on stderr"
  [ "$(grep -c -- "$text" "$dir/out")" = 1 ] || fail "shardbits $*: '$text' not exactly once"
}

wrong 2 'no command given'
wrong 2 'unknown command inspct; did you mean inspect?' inspct
wrong 2 'unknown command zzzzzzzz' help zzzzzzzz
wrong 2 'inspect: PATH is missing; usage: shardbits inspect PATH' inspect
wrong 2 'inspect: unknown option --blok; did you mean --block?' inspect m --blok 64x64
wrong 2 'inspect: --block 64: expected ROWSxCOLS' inspect m --block 64
wrong 2 'quantize: --calib TOKENS is needed' quantize m --bits 3 -o o
wrong 2 'quantize: --calib TOKENS is needed' quantize m --bits 3 -o o --method rtn --quantizer gptq
wrong 2 'plan: --seqlen 1: a whole number from 2 to 1048576' plan m --seqlen 1
wrong 2 'plan: --ranks needs a value' plan m --ranks
wrong 2 'plan: --compute fp8: expected one of f32, bf16' plan m --compute fp8
wrong 2 'synth: --config FILE is missing' synth -o o
wrong 2 'synth: --dtype fp8: expected one of f32, f16, bf16' synth --config c -o o --dtype fp8
wrong 2 'export: --out DIR is missing' export o
wrong 2 'bench: unexpected argument n; usage: shardbits bench .MODEL. .options.' bench m n
wrong 2 'completion: SHELL fish: bash or zsh is expected' completion fish
wrong 2 'completion: SHELL is missing' completion
wrong 2 'bench: --rounds 0: a whole number from 1 to 1000' bench --rounds 0
wrong 2 'plan: --quantizer none: expected one of rtn, gptq' plan m --quantizer none
wrong 1 "$dir/none.json: cannot be" bench "$dir/none.json" --rounds 1 --folder "$dir/none"
wrong 1 "$dir/none" inspect "$dir/none"
wrong 1 "$dir/config.json: cannot be" plan "$dir" --ranks 2
wrong 1 "$dir/none/r.json: cannot be written: the folder $dir/none: No such" inspect "$dir" --json "$dir/none/r.json"
wrong 1 "$dir: is a folder" inspect "$dir" --json "$dir"
right '^shardbits [0-9]*\.[0-9]*\.[0-9]*$' --version
right '^commands:$' --help
right '^  quantize  *find the bits' help
right '^complete -F _shardbits shardbits$' completion bash
right '^#compdef shardbits$' completion zsh
right '^usage: shardbits inspect PATH' inspect --help
right '^usage: shardbits plan MODEL' help plan
right '^usage: shardbits synth --config FILE' synth --help
right '^usage: shardbits bench .MODEL. .options.' bench --help
right '^  --file-size GB  ' help export
right '^  --seqlen N  *Tokens of a sequence. .128.$' plan -h
right '^  --seqlen N  *Tokens of a sequence. .512, or the model.s context$' eval -h

# a stdout that cannot be written is an error (/dev/full exists on Linux)
if [ "$ranks" = 0 ] && [ -c /dev/full ]; then
  "$shardbits" --help >/dev/full 2>"$dir/err"
  code=$?
  [ $code = 1 ] || fail "--help > /dev/full: exit code $code"
  grep -q '^shardbits: stdout: ' "$dir/err" || fail "--help > /dev/full: no message"
fi
finish
