"""Scripts and functions: Lua 5.1 behind EVAL and FCALL, as Redis 7.4 runs it.

What is where: `sandbox.lua` and the other .lua files are what scripts see; `runtime.py` holds the
Lua state and what it may ask of Python; `calls.py` runs a script's commands; `stage.py` lets a long
script give the loop back; `scripts.py` is the node's face, with the cache of EVAL; `functions.py`
is the registry of libraries, `payload.py` their dump format, `bytecode.py` a repair that keeps line
numbers.
"""
