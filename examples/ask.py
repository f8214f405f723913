#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ask.py VERSION-DIRECTORY QUESTION...: a conversation, a question for each turn; answers as they are made."""
import os
import sys


def ask(prompt, question):
    """Writes a question to an open prompt and yields the pieces of its answer."""
    os.write(prompt, question.encode())
    while piece := os.read(prompt, 65536):  # never ends inside a character
        yield piece.decode()


def main():
    directory, questions = sys.argv[1], sys.argv[2:]
    # Open for reading and writing: a conversation that belongs to this descriptor alone.
    prompt = os.open(os.path.join(directory, "prompt"), os.O_RDWR)
    try:
        for question in questions:
            for piece in ask(prompt, question):
                print(piece, end="", flush=True)
    except OSError:
        with open(os.path.join(directory, ".error"), encoding="utf-8") as why:
            sys.exit(why.read().strip())
    finally:
        os.close(prompt)


if __name__ == "__main__":
    main()
