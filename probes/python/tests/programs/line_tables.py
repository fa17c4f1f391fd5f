"""Every code object of a big part of the standard library: its line table, and the line of each of its instructions as
PyCode_Addr2Line tells it. Written to the output as numbers and hexadecimal, a code object on a line; then `ok`."""

import ctypes, os, sys, types

addr2line = ctypes.pythonapi.PyCode_Addr2Line
addr2line.restype = ctypes.c_int
addr2line.argtypes = [ctypes.py_object, ctypes.c_int]
table = "co_linetable" if sys.version_info >= (3, 10) else "co_lnotab"
most = int(sys.argv[1])
seen = 0


def tell(code):
    global seen
    seen += 1
    lines = []
    for offset in range(-2, len(code.co_code), 2):
        line = max(addr2line(code, offset), 0)
        # Runs of the same line, each as a line and a count.
        if lines and lines[-1][0] == line:
            lines[-1][1] += 1
        else:
            lines.append([line, 1])
    runs = ",".join("%d*%d" % (line, count) for line, count in lines)
    print(sys.version_info[1], code.co_firstlineno, "x" + getattr(code, table).hex(), runs)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            tell(constant)


folder = os.path.dirname(os.__file__)
for place, folders, files in os.walk(folder):
    folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__", "lib2to3", "config"})
    for name in sorted(files):
        if name.endswith(".py") and seen < most:
            try:
                with open(os.path.join(place, name), encoding="utf-8") as file:
                    code = compile(file.read(), name, "exec", dont_inherit=True)
            except (SyntaxError, UnicodeDecodeError, ValueError):
                continue
            tell(code)
            # Lines that go far back and forth, and first lines that are large.
            tell(code.replace(co_firstlineno=1 << 20))
print("ok")
