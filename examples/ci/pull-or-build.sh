#!/bin/sh
# pull-or-build.sh REF DIR COMMAND...
# Fills DIR from the cache, else by COMMAND, and then shares what COMMAND made. With SESSION in the environment
# the artifact is protected until that session ends. Whatever is wrong with the cache, COMMAND decides.
set -eu
ref=$1 dir=$2
shift 2

if [ -n "${SESSION:-}" ]; then
  # 11 is an answer: not here yet, and protected as soon as it is.
  caskeeper session require "$SESSION" "$ref" >/dev/null || [ $? -eq 11 ] || echo "$ref: not protected" >&2
fi
caskeeper pull "$ref" --to "$dir" --timeout 600 && exit 0
# Ctrl-C or a cancelled job; bash, other than dash, would go on.
code=$?
case $code in 130 | 143) exit $code ;; esac
rm -rf "$dir"
"$@"
if caskeeper commit "$dir" "$ref"; then
  caskeeper push --best-effort "$ref" || echo "$ref: not pushed" >&2
else
  echo "$ref: not shared" >&2
fi
