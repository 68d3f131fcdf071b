#!/usr/bin/env bash
# The scripts of `shardbits completion`, loaded by the shells that they are for: what is offered for each option of each command is what
# the command's --help says; files, folders, lists; a key pressed in a bash and in a zsh of their own.
. "$(dirname "$0")/../support/shell.sh"

cd "$dir" || exit 1
"$shardbits" completion bash >bash.sh 2>err || { cat err; exit 1; }
"$shardbits" completion zsh >_shardbits || exit 1
# shellcheck disable=SC1091
. ./bash.sh
mkdir -p things/sub 'things/a b' && touch things/x.bin things/x.txt 'things/with space.bin'

# offers WORD ...: what is offered for the last word, one a line; bash breaks words at '=', too
offers() {
  local line=() word
  for word in shardbits "$@"; do
    case $word in
      --*=*) line+=("${word%%=*}" "=" "${word#*=}") ;;
      *) line+=("$word") ;;
    esac
  done
  [ -n "${line[-1]}" ] || [ "${line[-2]}" != = ] || unset 'line[-1]' # the cursor is behind '='
  COMP_WORDS=("${line[@]}")
  COMP_CWORD=$((${#line[@]} - 1))
  _shardbits
  printf '%s\n' "${COMPREPLY[@]}"
}
# is EXPECTED WORD ...: lines, in any order
is() {
  local expected=$1 got
  shift
  got=$(offers "$@" | sort)
  [ "$got" = "$(printf '%s\n' "$expected" | sort)" ] || fail "shardbits $*: offered are $got, not $expected"
}

# ---- every option of every command, as --help has them ----
commands=$("$shardbits" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 14 ] || fail "commands: $commands"
is "$commands
help
--help
--version" ''
is "$commands" help ''
checked=0
for command in $commands; do
  help=$("$shardbits" "$command" --help)
  options=$(sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z0-9-]*\).*/\1\2/p' <<<"$help" | tr -d , | tr ' ' '\n')
  is "$options" "$command" -
  while read -r option choices; do # choices that --help shows in place of a value
    is "${choices//|/$'\n'}" "$command" "$option" ''
    is "${choices//|/$'\n'}" "$command" "$option="
    checked=$((checked + 1))
  done < <(sed -n 's/^  \(--[a-z-]*\) \([a-z0-9-]*|[a-z0-9|-]*\).*/\1 \2/p' <<<"$help")
  while read -r option; do is '' "$command" "$option" ''; done < <(sed -n 's/^  \(--[a-z-]*\) \(N\|X\|GB\|B\) .*/\1/p' <<<"$help")
done
[ $checked -ge 40 ] || fail "only $checked choices were compared"

# ---- what is begun, given before, a path, a list ----
is gptq quantize m --quantizer g
is gptq quantize m --quantizer=g
is --quantizer quantize m --quantiz
is '' quantize --quantizer rtn --quantiz # given
is $'things/sub\nthings/a b' quantize m -o things/
is $'things/sub\nthings/a b' quantize m --out=things/
is $'things/x.bin\nthings/x.txt' quantize m --calib things/x
is $'things/with space.bin' eval things/w
is $'things/a.bin,things/x.bin\nthings/a.bin,things/x.txt' train m --tokens things/a.bin,things/x
is $'bash\nzsh' completion ''
is zsh completion z
is '' nonsense --x
is '' doctor things

# ---- a key in a shell ----
# pressed SHELL TEXT WORDS: TEXT, a tab and a return run shardbits with these WORDS
pressed() {
  /usr/bin/python3 - "$@" <<'EOF' || fail "$1: a tab behind '$2' does not give '$3'"
import os, pty, select, sys, time
shell, text, expected = sys.argv[1:]
arguments = ["bash", "--norc", "--noprofile", "-i"] if shell == "bash" else [os.environ.get("ZSH", "zsh"), "-f", "-i"]
process, end = pty.fork()
if process == 0:
    os.environ.update(TERM="dumb", PS1="> ", COLUMNS="200")
    os.execvp(arguments[0], arguments)
seen = b""
def until(wanted, seconds):
    global seen
    stop = time.time() + seconds
    while time.time() < stop and wanted not in seen:
        if select.select([end], [], [], 0.1)[0]:
            try:
                seen += os.read(end, 65536)
            except OSError:
                break
    return wanted in seen
if shell == "bash":
    load = "shardbits() { echo ca''lled: $*.; }; source ./bash.sh; echo rea''dy\n"
else:
    load = "shardbits() { echo ca''lled: $*.; }; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d ./dump; echo rea''dy\n"
os.write(end, load.encode())
ok = until(b"ready\r\n", 30)
seen = b""
os.write(end, text.encode() + b"\t\r")
ok = ok and until(("called: %s." % expected).encode(), 20)
if not ok:
    sys.stderr.write(repr(seen) + "\n")
os.close(end)
os.kill(process, 9)
os.waitpid(process, 0)
sys.exit(not ok)
EOF
}
pressed bash 'shardbits quantize m --quantizer g' 'quantize m --quantizer gptq'
pressed bash 'shardbits eva' 'eval'
pressed bash 'shardbits eval m --tokens things/wi' 'eval m --tokens things/with space.bin'
if command -v "${ZSH:-zsh}" >/dev/null; then
  "${ZSH:-zsh}" -n _shardbits || fail "zsh does not read the script"
  pressed zsh 'shardbits quantize m --quantizer g' 'quantize m --quantizer gptq'
  pressed zsh 'shardbits quantize m --quantizer=g' 'quantize m --quantizer=gptq'
  pressed zsh 'shardbits eva' 'eval'
  pressed zsh 'shardbits eval m --tokens things/wi' 'eval m --tokens things/with space.bin'
  pressed zsh 'shardbits completion z' 'completion zsh'
  pressed zsh 'shardbits train m --schedule ws' 'train m --schedule wsd'
else
  echo "no zsh: its script was not loaded"
fi
finish
