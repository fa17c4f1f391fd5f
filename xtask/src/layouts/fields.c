/* Prints where a CPython's own headers put the fields that leakline reads: one "name value" to a line.
 * Compiled and run by `cargo xtask layouts`; never part of anything that is shipped. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <stddef.h>
#include <stdio.h>

#if PY_VERSION_HEX >= 0x030B0000
#include "internal/pycore_frame.h"
#else
#include <frameobject.h>
#endif
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe_structs.h"
#include "internal/pycore_tstate.h"
#include "internal/pycore_runtime_structs.h"
#endif
#include "internal/pycore_gc.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030B0000
#include "internal/pycore_dict.h"
#include "internal/pycore_code.h"
#endif

#define SAY(name, value) printf("%s %zu\n", name, (size_t)(value))
#define AT(type, field) offsetof(type, field)

int main(void) {
    SAY("version", PY_VERSION_HEX >> 8);
#if PY_VERSION_HEX < 0x030B0000
    SAY("frame.innermost", AT(PyThreadState, frame));
    SAY("frame.back", AT(PyFrameObject, f_back));
    SAY("frame.code", AT(PyFrameObject, f_code));
    SAY("frame.last_instruction", AT(PyFrameObject, f_lasti));
#elif PY_VERSION_HEX < 0x030D0000
    SAY("frame.innermost", AT(PyThreadState, cframe));
    SAY("frame.through", AT(_PyCFrame, current_frame));
#else
    SAY("frame.innermost", AT(PyThreadState, current_frame));
#endif
#if PY_VERSION_HEX >= 0x030B0000
    SAY("frame.previous", AT(_PyInterpreterFrame, previous));
    SAY("frame.owner", AT(_PyInterpreterFrame, owner));
    SAY("frame.first_entry_mark",
#if PY_VERSION_HEX >= 0x030E0000
        FRAME_OWNED_BY_INTERPRETER
#elif PY_VERSION_HEX >= 0x030C0000
        FRAME_OWNED_BY_CSTACK
#else
        3
#endif
    );
    SAY("code.from_first_traceable", AT(PyCodeObject, co_code_adaptive) - AT(PyCodeObject, _co_firsttraceable));
#endif
#if PY_VERSION_HEX >= 0x030E0000
    SAY("frame.code", AT(_PyInterpreterFrame, f_executable));
#elif PY_VERSION_HEX >= 0x030D0000
    SAY("frame.code", AT(_PyInterpreterFrame, f_executable));
#elif PY_VERSION_HEX >= 0x030B0000
    SAY("frame.code", AT(_PyInterpreterFrame, f_code));
#endif
#if PY_VERSION_HEX >= 0x030D0000
    SAY("frame.instruction", AT(_PyInterpreterFrame, instr_ptr));
#elif PY_VERSION_HEX >= 0x030B0000
    SAY("frame.instruction", AT(_PyInterpreterFrame, prev_instr));
#endif

#ifndef Py_GIL_DISABLED
    /* The young list's head is the origin, for that is what is found without any of this. */
#ifdef LEAKLINE_INCREMENTAL
#define YOUNG AT(struct _gc_runtime_state, young)
    SAY("collector.old", AT(struct _gc_runtime_state, old[0]) - YOUNG);
#else
#define YOUNG AT(struct _gc_runtime_state, generations)
    SAY("collector.middle", AT(struct _gc_runtime_state, generations[1]) - YOUNG);
    SAY("collector.old", AT(struct _gc_runtime_state, generations[2]) - YOUNG);
    SAY("collector.to_young", AT(struct _gc_runtime_state, generation0) - YOUNG);
#endif
    SAY("collector.frozen", AT(struct _gc_runtime_state, permanent_generation) - YOUNG);
    SAY("collector.stats", AT(struct _gc_runtime_state, generation_stats) - YOUNG);
    SAY("collector.collections", AT(struct gc_generation_stats, collections));
    SAY("collector.stats_size", sizeof(struct gc_generation_stats));
#if PY_VERSION_HEX >= 0x030F0000
    SAY("collector.young_ring", GC_YOUNG_STATS_SIZE);
    SAY("collector.old_ring", GC_OLD_STATS_SIZE);
    SAY("collector.young_index", AT(struct gc_stats, young.index));
    SAY("collector.middle_ring_at", AT(struct gc_stats, old[0]));
    SAY("collector.old_ring_at", AT(struct gc_stats, old[1]));
    SAY("collector.old_index", AT(struct gc_old_stats_buffer, index));
#endif
#endif

    SAY("object.tuple_items", AT(PyTupleObject, ob_item));
    SAY("object.type_flags", AT(PyTypeObject, tp_flags));
    SAY("object.type_traverse", AT(PyTypeObject, tp_traverse));
    SAY("object.type_dict", AT(PyTypeObject, tp_dict));
    SAY("object.type_dictoffset", AT(PyTypeObject, tp_dictoffset));
    SAY("object.type_mro", AT(PyTypeObject, tp_mro));
    SAY("object.set_mask", AT(PySetObject, mask));
    SAY("object.set_table", AT(PySetObject, table));
    SAY("object.set_smalltable", AT(PySetObject, smalltable));
    SAY("object.list_allocated", AT(PyListObject, allocated));
#if PY_VERSION_HEX >= 0x030B0000
    SAY("object.shared_keys", AT(PyHeapTypeObject, ht_cached_keys));
    SAY("object.keys_index_bytes", AT(PyDictKeysObject, dk_log2_index_bytes));
    SAY("object.keys_kind", AT(PyDictKeysObject, dk_kind));
    SAY("object.keys_count", AT(PyDictKeysObject, dk_nentries));
    SAY("object.keys_indices", AT(PyDictKeysObject, dk_indices));
    SAY("object.keys_are_split", DICT_KEYS_SPLIT);
    SAY("object.values", AT(PyDictValues, values));
#endif

#if PY_VERSION_HEX >= 0x030D0000
    /* Where the interpreter's own table of offsets, which it publishes for debuggers, has its entries. */
#define PUBLISHED(name, field) SAY("published." name, AT(_Py_DebugOffsets, field))
    PUBLISHED("version", version);
    PUBLISHED("free_threaded", free_threaded);
    PUBLISHED("thread_size", thread_state.size);
    PUBLISHED("innermost", thread_state.current_frame);
    PUBLISHED("frame_size", interpreter_frame.size);
    PUBLISHED("previous", interpreter_frame.previous);
    PUBLISHED("code", interpreter_frame.executable);
    PUBLISHED("instruction", interpreter_frame.instr_ptr);
    PUBLISHED("owner", interpreter_frame.owner);
    PUBLISHED("code_size", code_object.size);
    PUBLISHED("code_start", code_object.co_code_adaptive);
#endif
    return 0;
}
