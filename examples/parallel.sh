#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# parallel.sh VERSION-DIRECTORY OUTPUT-DIRECTORY <QUESTIONS: asks every line of standard input, eight
# at a time, and writes the answer to line N into OUTPUT-DIRECTORY/N. A descriptor of `prompt` that is
# open for reading and writing is a conversation of its own, so that no two get mixed up.
set -eu

ask() {
    number=${1%% *}
    exec 3<>"$MODEL/prompt"
    printf '%s\n' "${1#* }" >&3
    cat <&3 >"$OUTPUT/$number"
}
export -f ask
MODEL=$1 OUTPUT=$2
export MODEL OUTPUT

mkdir -p "$OUTPUT"
awk '{ printf "%d %s%c", NR, $0, 0 }' | xargs -0 -P 8 -I '{}' bash -euc 'ask "$1"' ask '{}'
