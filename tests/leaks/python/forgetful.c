/* An extension module whose `parse` makes an object and never gives its reference back. */

#include <Python.h>

static PyObject *parse(PyObject *module, PyObject *size) {
    (void)module;
    PyObject *buffer = PyBytes_FromStringAndSize(NULL, PyLong_AsSsize_t(size));
    if (buffer == NULL) {
        return NULL;
    }
    return PyLong_FromSsize_t(PyBytes_GET_SIZE(buffer)); /* Py_DECREF(buffer) is what it forgets */
}

static PyMethodDef methods[] = {{"parse", parse, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "forgetful", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_forgetful(void) { return PyModule_Create(&module); }
