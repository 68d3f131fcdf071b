#!/usr/bin/env bash
# A single process that a signal ends while it writes its output leaves nothing, whichever signal it is. What SIGKILL leaves is
# removed by the next run with the same target.
. "$(dirname "$0")/../support/shell.sh"

# writing HOW: a process in the background, with a signal ignored or not as env(1) has it, frozen while its shard grows; false where it
# was quicker than we.
writing() {
  rm -rf "$out"*
  start env "$1" "$shardbits" quantize "$model" --bits 3.25 --method rtn --level 19 --quiet --threads 1 -o "$out" \
    >"$dir/stdout" 2>"$dir/stderr"
  until compgen -G "$dir/OUT.partial-*/shard-*" >/dev/null; do running || return 1; done
  kill -STOP "$job"
  compgen -G "$dir/OUT.partial-*/shard-*" >/dev/null && [ ! -e "$out" ]
}
begin() { # [HOW]: shells that are no terminal's have SIGQUIT ignored in the background
  for _ in $(seq 20); do
    writing "${1:---default-signal=QUIT}" && return
    kill -CONT "$job" 2>/dev/null
    wait "$job"
  done
  echo "FAILED: no run could be caught while it wrote" && cat "$dir/stderr" && exit 1
}
end_by() { # SIGNAL: $code
  kill "-$1" "$job"
  kill -CONT "$job"
  wait "$job"
  code=$?
}

for signal in TERM INT HUP QUIT XCPU ALRM VTALRM PROF USR1 USR2; do
  begin
  end_by $signal
  [ $code = $((128 + $(kill -l $signal))) ] || fail "SIG$signal: exit code $code"
  [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "SIG$signal: left $(ls "$dir")"
  one_line "SIG$signal" "interrupted by SIG$signal; .*OUT is as it was" $code
done
for signal in ABRT SEGV BUS; do # a crash is told by whoever told it before
  begin
  end_by $signal
  [ $code != 0 ] || fail "SIG$signal: exit code 0"
  [ -z "$(find "$dir" -maxdepth 1 -name 'OUT*')" ] || fail "SIG$signal: left $(ls "$dir")"
done
for signal in PIPE XFSZ; do # these end nothing: a write that fails has a message of its own
  begin
  end_by $signal
  [ $code = 0 ] || fail "SIG$signal: exit code $code: $(cat "$dir/stderr")"
  [ -s "$out/manifest.json" ] || fail "SIG$signal: no output"
done

# A closed pipe behind the log costs no result.
rm -rf "$out"
{ "$shardbits" quantize "$model" --bits 3.25 --method rtn -o "$out" 2>&1 >/dev/null || echo "$?" >"$dir/code"; } | head -n 1 >/dev/null
[ -s "$out/manifest.json" ] || fail "a closed pipe behind the log: no output, exit code $(cat "$dir/code")"

# What is ignored from the start stays so: SIGHUP under nohup.
begin --ignore-signal=HUP
end_by HUP
[ $code = 0 ] || fail "SIGHUP under nohup: exit code $code: $(cat "$dir/stderr")"

begin
end_by KILL
[ -n "$(find "$dir" -maxdepth 1 -name 'OUT.partial-*')" ] || fail "the test is wrong: SIGKILL left nothing"
run 1 quantize "$model" --bits 3.25 --method rtn -o "$out"
[ "$(cd "$dir" && echo OUT*)" = OUT ] || fail "what SIGKILL left is still there: $(ls "$dir")"

# Files too: a report that was being written when the process was killed. The name has the mark of another host, whose locks
# would be seen on a file system of this machine.
dead=$dir/report.json.partial-$(printf '%08x' 0)-0123456789abcdef
echo '{"half":' >"$dead"
run 1 inspect "$tiny" --json "$dir/report.json"
case $(stat -f -c %T "$dir") in ext2/ext3 | xfs | btrfs | tmpfs | overlayfs) ;; *) rm -f "$dead" ;; esac
[ ! -e "$dead" ] || fail "the report of a killed run is still there"
finish
