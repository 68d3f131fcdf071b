#!/usr/bin/env bash
# pre_commit.sh: formatter, house, linter and analyzer over the files that are staged, then the quick tests of their rooms: those of one
# process, and of several ranks on two. As a hook:
#   ln -s ../../tools/pre_commit.sh .git/hooks/pre-commit
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
mapfile -t files < <(git diff --cached --name-only --diff-filter=d)
[ ${#files[@]} -gt 0 ] || exit 0

[ -e build/test/build.ninja ] || cmake --preset test >/dev/null
tools/lint.sh --analyze "${files[@]}"

mapfile -t rooms < <(printf '%s\n' "${files[@]}" | sed -n 's|^tests/||; s|^\([a-z_]*\)/.*\.[ch]$|\1|p' | sort -u)
for room in "${rooms[@]}"; do
  [ -e "build/test/tests/$room/CTestTestfile.cmake" ] || continue
  case $room in program | faults | real) continue ;; esac # whole runs, which take minutes
  cmake --build build/test --target "tests/$room/all" shardbits >build/pre_commit.log || { tail -n 30 build/pre_commit.log; exit 1; }
  OMP_WAIT_POLICY=passive ctest --test-dir "build/test/tests/$room" -j "$(nproc)" -LE long -E '_[013-9]$' --output-on-failure --progress
done
