"""Runs commands of `connect` one after another in this process: a JSON list of lists of words on stdin; each is said before it runs."""

from __future__ import annotations

import sys

import orjson

from workers.cli import main

for words in orjson.loads(sys.stdin.buffer.read()):
    print("$", *words, flush=True)
    try:
        main(words)
    except SystemExit as end:
        print("exit", end.code, flush=True)
