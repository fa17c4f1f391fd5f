"""Compiles code all the time, each piece with a name of its own, and keeps nothing: templates, notebooks, generated code."""

import sys

for number in range(int(sys.argv[1])):
    names = {}
    lines = "\n" * (number % 50)
    code = f"def render_{number}():{lines}\n    return [bytearray(3000) for _ in range(20)]\nx = render_{number}()\n"
    exec(compile(code, f"<template {number}>", "exec"), names)
print("done")
