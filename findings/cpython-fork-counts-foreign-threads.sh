#!/usr/bin/env bash
# CPython 3.13.5 (Debian 13, amd64): `os.fork` warns that "This process is multi-threaded" because of a thread that Python
# has never seen. A thread that C code started, that sleeps in pause(2) and never calls the interpreter, is enough, although
# `threading` knows of one thread only. So whoever loads a library with a helper thread changes what a program of one
# Python thread writes to stderr.
#
# Seen: without the thread no warning; with it one DeprecationWarning, threads known to Python: 1, to the kernel: 2.
# Fails when that changes. Needs curl, sha256sum, dpkg-deb.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fetch() {
  curl -sSfL --retry 2 -o package.deb "https://deb.debian.org/debian/pool/main/$1"
  echo "$2  package.deb" | sha256sum --check --quiet
  dpkg-deb -x package.deb root
}
fetch p/python3.13/python3.13-minimal_3.13.5-2+deb13u5_amd64.deb c1fda9e7b1bf15b2fa75a238d8a8710e142fe14c722fc650c5fc614f078c9073
fetch p/python3.13/libpython3.13-minimal_3.13.5-2+deb13u5_amd64.deb a4aa6a9a8c77f87bfe545e1d14ec42c001d189ace90e3aa75deec882b39dee49
fetch p/python3.13/libpython3.13-stdlib_3.13.5-2+deb13u5_amd64.deb db161322a3481d2c0c3b9a3b9a03c3ab0e2b1718f54b88755fb4a3f939165b84
fetch g/glibc/libc6_2.41-12+deb13u5_amd64.deb b59b0625cd1a791375d40dab23a4d5d3d0641e3d0a773501becdc3725b7f99cf
fetch e/expat/libexpat1_2.9.0-1~deb13u1_amd64.deb feff874772cae904ae4d24e917b35664952bec4b4ae9100a4edda5a7fa746832
fetch z/zlib/zlib1g_1.3.dfsg+really1.3.1-1+deb13u1_amd64.deb 8c27c342230503b73dfde629642c3b352e87b554e06d60cf58772f236a305ceb
fetch libf/libffi/libffi8_3.4.8-2_amd64.deb 0ebdc340de33333639c3c63874cd4b15ac2e83dfa1ef3053b7eefaf4919f4f68

cat >program.py <<'PYTHON'
import ctypes, os, sys, threading

if sys.argv[1] == "with":
    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, libc.pause, None) == 0
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
print("known to Python:", threading.active_count(), "to the kernel:", len(os.listdir("/proc/self/task")))
PYTHON

libraries=root/usr/lib/x86_64-linux-gnu
python() {
  PYTHONHOME=$PWD/root/usr "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" root/usr/bin/python3.13 -W always program.py "$1" 2>&1
}
for thread in without with; do
  said=$(python "$thread")
  printf '%s\n%s\n' "== $thread a thread of C's" "$said"
  warnings=$(grep -c 'DeprecationWarning: This process .* is multi-threaded' <<<"$said" || true)
  case $thread in
    without) [[ $warnings == 0 && $said == *'known to Python: 1 to the kernel: 1'* ]] ;;
    with) [[ $warnings == 1 && $said == *'known to Python: 1 to the kernel: 2'* ]] ;;
  esac || { echo "changed: not as it was seen"; exit 1; }
done
echo "as it was seen"
