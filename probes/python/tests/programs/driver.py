"""Loads the driver through ctypes, and calls it with the GIL released. Used by the programs beside it."""

import ctypes
import json
import os

_library = ctypes.CDLL(os.environ["LEAKLINE_DRIVER"])


def _function(name, *arguments):
    function = getattr(_library, "driver_" + name)
    function.argtypes = arguments
    function.restype = ctypes.c_void_p

    def call(*values):
        address = function(*values)
        try:
            return json.loads(ctypes.string_at(address))
        finally:
            _library.driver_free(ctypes.c_void_p(address))

    return call


_attach = _function("attach", ctypes.c_char_p)
gauges = _function("gauges")
_details = _function("details", ctypes.c_int, ctypes.c_int)
_census = _function("census", ctypes.c_char_p)
growth = _function("growth")
_window = _function("window", ctypes.c_uint32, ctypes.c_uint16)
detach = _function("detach")
conformance = _function("conformance")


def attach(**options):
    return _attach(json.dumps(options).encode())


def details(sites=True, requested=True):
    return _details(int(sites), int(requested))


def census(**request):
    return _census(json.dumps(request).encode())


def open_window(millis, frames=10):
    return _window(millis, frames)


def close_window():
    return _window(0, 0)


def right(details):
    """A reading, which must not have failed, nor found leakline's tables wrong."""
    assert "error" not in details, details["error"]
    assert not any("wrong" in note for note in details["notes"]), details["notes"]
    return details


def was_early():
    return bool(_library.driver_was_early())


def report_closing():
    _library.driver_report_closing()


def read_for_ever():
    _library.driver_read_for_ever()
