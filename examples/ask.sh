#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ask.sh VERSION-DIRECTORY QUESTION: asks and prints the answer as it is made. Ctrl-C stops the model.
set -eu
cd "$1"
printf '%s\n' "$2" >prompt
cat stream || {
    cat .error >&2
    exit 1
}
