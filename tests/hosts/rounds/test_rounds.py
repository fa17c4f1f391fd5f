"""Tests that leak, or do not, for the pytest plugin: each name says what must become of it."""

import ctypes

import pytest

KEPT = []
LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p


@pytest.fixture
def size():
    return 500


@pytest.mark.leakline(seconds=3)
def test_fails_in_python(size):
    KEPT.append(bytes(size))


@pytest.mark.leakline(seconds=3)
def test_fails_in_native(size):
    LIBC.malloc(ctypes.c_size_t(size))


@pytest.mark.leakline(seconds=3)
def test_passes(size):
    assert len([bytes(size) for _ in range(10)]) == 10


@pytest.mark.leakline(seconds=3, max_bytes=2000)
def test_passes_within_its_bound(size):
    KEPT.append(bytes(size))


@pytest.mark.leakline(seconds=1)
def test_fails_by_itself():
    raise ValueError("this is the test's own failure")


def test_passes_without_a_marker():
    assert KEPT == []
