/* The hot path of node_ipc once more, in C.

   The seam. The Python twin is the reference, and its objects are the only ones: this module keeps no state of a link.
   It makes callables that stand in the place of a few Python ones (`Session.emit`, `broadcast`, `Incoming.received`,
   `Outgoing.flush`, the codec's `encode`, the entry of a typed handler) and do the common case on the slots that those
   would read and write. Everything else (another thread, a full kernel, reading that is paused, a frame that is not as we
   write it ourselves, a payload that msgspec refuses) is the Python method's: it is called before anything was changed, so
   its verdicts and its words stay.

   Slots. Classes with `__slots__` keep each attribute at a fixed offset, which their member descriptors tell. They are
   read once, when a class is handed over, and hold for its subclasses. An object's class is checked before its slots are
   touched; a slot that was never set is NULL, and then the Python method is called, which says what is wrong.

   Who owns what. Nothing is lent: a frame is a `bytes` object of its own, a read is the `bytes` of the caller, and what is
   taken out of a slot is held (a strong reference) while anything else may run. No pointer into an object's memory is
   used after a call that could free that object.

   Invariants.
   - A block is run over by its list iterator, as in Python: whoever stops it (a handler that closes, an async handler too
     many) empties that iterator, and the next look here finds the end.
   - `Events.current` and `LinkContext.enter` are put back on every way out.
   - A frame counts as canonical when it is {"type":"N","data":P} to the byte, N printable ASCII without a quote and a
     backslash, and msgspec accepts P as one whole value. Then it is JSON, and has these two members and no others.
   - All is called with the interpreter's lock held, and nothing here lets go of it; Pythons without one are not claimed
     (no Py_mod_gil), and node_ipc does not load this module there.
*/
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdint.h>
#include <string.h>

#ifndef VERSION
#error "setup.py says which version of node-ipc this belongs to"
#endif

#define FLUSH_FRAMES 64            /* core/outgoing.py says why */
#define COUNTED_BYTES 1024         /* there, too */
#define LARGE_FRAME (128 * 1024)   /* wire/costs.py */
#define NAMES 256                  /* places for names that came: a power of two */
#define NAME_MOST 64               /* a longer name is not kept, and its frame is decoded whole */

/* ---- what is known of the Python side ---- */

#define SLOTS_OF_SESSION(X) X(session, outgoing, "outgoing")  X(session, driver, "_driver")                            \
    X(session, heard, "heard") X(session, traffic, "traffic")
#define SLOTS_OF_OUTGOING(X) X(outgoing, frames, "frames") X(outgoing, corked, "corked") X(outgoing, turn, "turn")     \
    X(outgoing, is_full, "is_full") X(outgoing, below_soft, "below_soft") X(outgoing, home, "home")                    \
    X(outgoing, thread, "thread") X(outgoing, encode, "encode") X(outgoing, is_open, "is_open")                        \
    X(outgoing, link, "_link") X(outgoing, speaker, "_speaker") X(outgoing, messages_out, "messages_out")              \
    X(outgoing, bytes_out, "bytes_out") X(outgoing, look_at, "_look_at") X(outgoing, weighed, "_weighed")              \
    X(outgoing, bytes, "_bytes")
#define SLOTS_OF_INCOMING(X) X(incoming, hearer, "_hearer") X(incoming, outgoing, "_outgoing")                         \
    X(incoming, splitter, "_splitter") X(incoming, context, "_context") X(incoming, events, "_events")                 \
    X(incoming, codec, "_codec") X(incoming, block, "_block") X(incoming, held, "_held")                               \
    X(incoming, undecoded, "_undecoded") X(incoming, pauses, "pauses") X(incoming, is_shut, "_is_shut")                \
    X(incoming, beats, "_beats") X(incoming, half_since, "_half_since") X(incoming, bytes_in, "bytes_in")              \
    X(incoming, messages_in, "messages_in")
#define SLOTS_OF_BLOCK(X) X(block, messages, "messages") X(block, rest, "rest")
#define SLOTS_OF_CONTEXT(X) X(context, enter, "enter")
#define SLOTS_OF_EVENTS(X) X(events, table, "_table") X(events, carries, "_carries") X(events, current, "current")     \
    X(events, wants_raw, "wants_raw") X(events, watches, "_watches")
#define SLOTS_OF_SPLITTER(X) X(splitter, delimiter, "_delimiter") X(splitter, limit, "_limit")                         \
    X(splitter, rest, "rest") X(splitter, fault, "fault")
#define SLOTS(X) SLOTS_OF_SESSION(X) SLOTS_OF_OUTGOING(X) SLOTS_OF_INCOMING(X) SLOTS_OF_BLOCK(X) SLOTS_OF_CONTEXT(X)   \
    SLOTS_OF_EVENTS(X) SLOTS_OF_SPLITTER(X)

/* Classes of Python's side, by the name that the slots above begin with; the last one has no slots. */
#define CLASSES(X) X(session) X(outgoing) X(incoming) X(block) X(context) X(events) X(splitter) X(framed_codec)

#define TYPES(X) X(Method) X(Encoder) X(Converting) /* this module's own */

/* Objects that are compared with or called. */
#define OBJECTS(X) X(flush) X(directly) X(nothing) X(get_ident) X(empty) X(no_bytes) X(zero) X(Backpressure)            \
    X(Envelope) X(RawEnvelope) X(decode_envelope) X(decode_raw_envelope) X(decode_payload) X(decode_raw_payload)

#define WORDS(X) X(press) X(turn_ends) X(split) X(type) X(data) X(_deliver) X(_stumbled) X(_end_read)  \
    X(_report) X(_run_returned) X(_unheard) X(keep) X(join) X(write) X(_in_doubt) X(_is_left)

typedef struct {
#define X(name) PyTypeObject *name;
    TYPES(X)
#undef X
#define X(name) PyObject *name;
    CLASSES(X) OBJECTS(X)
#undef X
#define X(name) PyObject *word_##name;
    WORDS(X)
#undef X
#define X(owner, name, text) Py_ssize_t owner##_##name;
    SLOTS(X)
#undef X
    PyObject *names[NAMES]; /* texts that were names of events, each where its bytes lead to */
} State;

#define AT(object, slot) (*(PyObject **)((char *)(object) + st->slot))
#define IS(object, class) ((object) != NULL && (PyObject *)Py_TYPE(object) == st->class)
#define IS_A(object, class) ((object) != NULL && PyObject_TypeCheck(object, (PyTypeObject *)st->class))

static void put(PyObject **slot, PyObject *value) {
    PyObject *old = *slot;
    *slot = Py_NewRef(value);
    Py_XDECREF(old);
}

static int add(PyObject **slot, Py_ssize_t more) {
    PyObject *number = PyLong_FromSsize_t(more), *sum = number ? PyNumber_Add(*slot, number) : NULL;
    Py_XDECREF(number);
    if (!sum) return -1;
    Py_SETREF(*slot, sum);
    return 0;
}

/* What a call gave that gives nothing; -1 with an error. */
static int done(PyObject *result) {
    if (!result) return -1;
    Py_DECREF(result);
    return 0;
}

/* Where a class keeps an attribute; -1 with an error where that is no slot of its. */
static Py_ssize_t offset_of(PyObject *class, const char *name) {
    PyObject *member = PyObject_GetAttrString(class, name);
    if (!member) return -1;
    Py_ssize_t offset = -1;
    if (Py_IS_TYPE(member, &PyMemberDescr_Type) && ((PyMemberDescrObject *)member)->d_member->type == T_OBJECT_EX)
        offset = ((PyMemberDescrObject *)member)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%R has no slot %s: install node-ipc-native (./native) anew", class, name);
    Py_DECREF(member);
    return offset;
}

/* The error that is raised, as an object, and raised no more. */
static PyObject *take_error(void) {
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *kind, *error, *trace;
    PyErr_Fetch(&kind, &error, &trace);
    PyErr_NormalizeException(&kind, &error, &trace);
    if (trace) PyException_SetTraceback(error, trace);
    Py_XDECREF(kind);
    Py_XDECREF(trace);
    return error;
#endif
}

static void raise_again(PyObject *error) {
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
}

/* What a handler or msgspec may raise, against what ends a program. */
static int forget_ordinary_error(void) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return 0;
    PyErr_Clear();
    return 1;
}

/* `except … as error: self.how(first, error, last)`, of which first may be missing; steals the error that is raised. */
static PyObject *call_in_except(PyObject *self, PyObject *how, PyObject *first, PyObject *last) {
    PyObject *error = take_error(), *outer = PyErr_GetHandledException(), *result;
    PyErr_SetHandledException(error);
    if (first) result = PyObject_CallMethodObjArgs(self, how, first, error, last, NULL);
    else result = PyObject_CallMethodObjArgs(self, how, error, last, NULL);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_DECREF(error);
    return result;
}

/* What the collector wants of a class: that its parts, each an X(class, name), are visited, and let go of. */
#define FIELD(Kind, part) PyObject *part;
#define VISIT(Kind, part) Py_VISIT(((Kind *)self)->part);
#define KEEP(Kind, part) self->part = Py_NewRef(part);
#define DROP(Kind, part) Py_XDECREF(((Kind *)self)->part);
#define COLLECTED(name, PARTS)                                                                                         \
    static int name##_traverse(PyObject *self, visitproc visit, void *arg) {                                           \
        Py_VISIT(Py_TYPE(self));                                                                                       \
        PARTS(VISIT)                                                                                                   \
        return 0;                                                                                                      \
    }                                                                                                                  \
    static void name##_dealloc(PyObject *self) {                                                                       \
        PyTypeObject *type = Py_TYPE(self);                                                                            \
        PyObject_GC_UnTrack(self);                                                                                     \
        PARTS(DROP)                                                                                                    \
        type->tp_free(self);                                                                                           \
        Py_DECREF(type);                                                                                               \
    }

/* Where an object of a class keeps the function that it is called by. */
#define CALLED_AT(Kind, part)                                                                                          \
    {{"__vectorcalloffset__", T_PYSSIZET, offsetof(Kind, part), READONLY, NULL}, {NULL, 0, 0, 0, NULL}}

/* ---- Method: stands in the place of a Python function, which it has for all that is not the common case ---- */

#define PARTS_OF_METHOD(X) X(Method, module) /* whose state that is */ X(Method, pure)

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    State *st;
    PARTS_OF_METHOD(FIELD)
} Method;

COLLECTED(method, PARTS_OF_METHOD)

static PyObject *method_of(PyObject *method, PyObject *object, PyObject *Py_UNUSED(type)) {
    if (!object || object == Py_None) return Py_NewRef(method);
    return PyMethod_New(method, object);
}

/* Its name, its words, its signature: those of the Python function. */
static PyObject *method_attribute(PyObject *self, PyObject *name) {
    PyObject *pure = ((Method *)self)->pure;
    if (PyUnicode_CompareWithASCIIString(name, "__class__") == 0) return PyObject_GenericGetAttr(self, name);
    if (PyUnicode_CompareWithASCIIString(name, "__wrapped__") == 0) return Py_NewRef(pure);
    PyObject *found = PyObject_GetAttr(pure, name);
    if (found || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
    PyErr_Clear();
    return PyObject_GenericGetAttr(self, name);
}

static PyMemberDef method_members[] = CALLED_AT(Method, call);
static PyType_Slot method_slots[] = {{Py_tp_call, PyVectorcall_Call},     {Py_tp_descr_get, method_of},
                                     {Py_tp_getattro, method_attribute},  {Py_tp_traverse, method_traverse},
                                     {Py_tp_dealloc, method_dealloc},     {Py_tp_members, method_members},
                                     {0, NULL}};
static PyType_Spec method_spec = {"node_ipc_native.Method", sizeof(Method), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                                      Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                  method_slots};

static PyObject *new_method(PyObject *module, PyObject *pure, vectorcallfunc call) {
    State *st = PyModule_GetState(module);
    Method *made = PyObject_GC_New(Method, st->Method);
    if (!made) return NULL;
    made->call = call;
    made->st = st;
    made->module = Py_NewRef(module);
    made->pure = Py_NewRef(pure);
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

static PyObject *call_pure(Method *method, PyObject *const *args, size_t flags, PyObject *names) {
    return PyObject_Vectorcall(method->pure, args, flags, names);
}

/* ---- Encoder: FramedCodec.encode ---- */

#define PARTS_OF_ENCODER(X) X(Encoder, prefixes) X(Encoder, encode_json) X(Encoder, slowly)                            \
    X(Encoder, without_delimiter) X(Encoder, look_at) X(Encoder, empty)

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PARTS_OF_ENCODER(FIELD)
    Py_ssize_t looked_at;
    unsigned char delimiter;
} Encoder;

COLLECTED(encoder, PARTS_OF_ENCODER)

/* What msgspec and a look into a dict raise where a second, slower look is worth it. */
static int is_refusal(void) {
    return PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_TypeError) ||
           PyErr_ExceptionMatches(PyExc_KeyError) || PyErr_ExceptionMatches(PyExc_OverflowError) ||
           PyErr_ExceptionMatches(PyExc_RecursionError) || PyErr_ExceptionMatches(PyExc_BufferError);
}

/* The prefix of a name's frames and the payload as JSON, both new references; -1 with an error. The name comes first:
   events in which bytes are expected have no prefix. `whole`: where the slow way gives the message itself (a parcel). */
static int encode_parts(Encoder *self, PyObject *type, PyObject *data, PyObject **prefix, PyObject **body,
                        PyObject **whole) {
    *body = *whole = NULL;
    *prefix = Py_XNewRef(PyDict_GetItemWithError(self->prefixes, type));
    if (*prefix) {
        *body = PyObject_CallOneArg(self->encode_json, data);
        if (*body && PyBytes_CheckExact(*body) && PyBytes_CheckExact(*prefix)) return 0;
        Py_CLEAR(*body);
        Py_CLEAR(*prefix);
    }
    if (PyErr_Occurred()) {
        if (!is_refusal()) return -1;
        PyErr_Clear();
    }
    PyObject *both = PyObject_CallFunctionObjArgs(self->slowly, type, data, NULL);
    if (!both) return -1;
    if (!PyTuple_Check(both)) {
        *whole = both;
        return 0;
    }
    int fits = PyArg_ParseTuple(both, "SS", prefix, body);
    *prefix = fits ? Py_NewRef(*prefix) : NULL;
    *body = fits ? Py_NewRef(*body) : NULL;
    Py_DECREF(both);
    return fits ? 0 : -1;
}

static PyObject *encode(Encoder *self, PyObject *type, PyObject *data) {
    PyObject *prefix, *body, *whole, *frame = NULL;
    if (encode_parts(self, type, data, &prefix, &body, &whole) < 0) return NULL;
    if (whole) return whole;
    Py_ssize_t head = PyBytes_GET_SIZE(prefix), length = PyBytes_GET_SIZE(body);
    if (memchr(PyBytes_AS_STRING(body), self->delimiter, (size_t)length)) {
        frame = PyObject_CallFunctionObjArgs(self->without_delimiter, prefix, body, type, NULL);
    } else if (head > PY_SSIZE_T_MAX - length - 2) {
        PyErr_NoMemory();
    } else if ((frame = PyBytes_FromStringAndSize(NULL, head + length + 2))) {
        char *to = PyBytes_AS_STRING(frame);
        memcpy(to, PyBytes_AS_STRING(prefix), (size_t)head);
        memcpy(to + head, PyBytes_AS_STRING(body), (size_t)length);
        to[head + length] = '}';
        to[head + length + 1] = (char)self->delimiter;
    }
    Py_DECREF(prefix);
    Py_DECREF(body);
    if (frame && PyObject_Size(frame) > self->looked_at)
        Py_SETREF(frame, PyObject_CallFunctionObjArgs(self->look_at, frame, type, data, NULL));
    return frame;
}

/* (type, data={}), by position or by name */
static PyObject *encoder_call(PyObject *self, PyObject *const *args, size_t flags, PyObject *names) {
    Py_ssize_t count = PyVectorcall_NARGS(flags), named = names ? PyTuple_GET_SIZE(names) : 0;
    PyObject *type = count > 0 ? args[0] : NULL, *data = count > 1 ? args[1] : NULL;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i), **to = NULL;
        if (PyUnicode_CompareWithASCIIString(name, "type") == 0) to = &type;
        if (PyUnicode_CompareWithASCIIString(name, "data") == 0) to = &data;
        if (!to || *to) return PyErr_Format(PyExc_TypeError, "encode() got an unexpected keyword argument %R", name);
        *to = args[count + i];
    }
    if (!type || count > 2)
        return PyErr_Format(PyExc_TypeError, "encode() takes 1 or 2 arguments (type, data), not %zd", count + named);
    return encode((Encoder *)self, type, data ? data : ((Encoder *)self)->empty);
}

static PyObject *encoder_new(PyTypeObject *class, PyObject *args, PyObject *kwargs) {
    static char *words[] = {"prefixes", "encode_json", "slowly", "without_delimiter", "look_at",
                            "delimiter", "looked_at", NULL};
    PyObject *prefixes, *encode_json, *slowly, *without_delimiter, *look_at, *looked_at, *empty;
    unsigned char delimiter;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOOObO!", words, &PyDict_Type, &prefixes, &encode_json, &slowly,
                                     &without_delimiter, &look_at, &delimiter, &PyLong_Type, &looked_at) ||
        !(empty = PyDict_New()))
        return NULL;
    Encoder *self = (Encoder *)class->tp_alloc(class, 0);
    if (self) {
        PARTS_OF_ENCODER(KEEP)
    }
    Py_DECREF(empty);
    if (!self) return NULL;
    self->call = encoder_call;
    self->delimiter = delimiter;
    self->looked_at = PyLong_AsSsize_t(looked_at);
    if (self->looked_at == -1 && PyErr_Occurred()) self->looked_at = PY_SSIZE_T_MAX; /* more than any frame has */
    PyErr_Clear();
    return (PyObject *)self;
}

static int encoder_clear(PyObject *object) {
    Encoder *self = (Encoder *)object; /* its circle goes over its codec: cut there, what is left can still be called */
    put(&self->slowly, Py_None);
    put(&self->without_delimiter, Py_None);
    put(&self->look_at, Py_None);
    return 0;
}

static PyMemberDef encoder_members[] = CALLED_AT(Encoder, call);
static PyType_Slot encoder_slots[] = {{Py_tp_new, encoder_new},          {Py_tp_call, PyVectorcall_Call},
                                      {Py_tp_traverse, encoder_traverse}, {Py_tp_clear, encoder_clear},
                                      {Py_tp_dealloc, encoder_dealloc},   {Py_tp_members, encoder_members},
                                      {0, NULL}};
static PyType_Spec encoder_spec = {"node_ipc_native.Encoder", sizeof(Encoder), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
                                   encoder_slots};

/* ---- Converting: the entry of a handler that wants its payload decoded: call(decode(data), …) ---- */

/* quick: decodes bytes that are all of a payload; None where only `decode` will do */
#define PARTS_OF_CONVERTING(X) X(Converting, call) X(Converting, decode) X(Converting, quick)

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PARTS_OF_CONVERTING(FIELD)
} Converting;

COLLECTED(converting, PARTS_OF_CONVERTING)

static PyObject *converting_call(PyObject *object, PyObject *const *args, size_t flags, PyObject *names) {
    Converting *self = (Converting *)object;
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    if (names || count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "a handler's entry takes (data) or (data, socket)");
    PyObject *data = PyObject_CallOneArg(self->decode, args[0]);
    if (!data) return NULL;
    PyObject *all[3] = {NULL, data, count == 2 ? args[1] : NULL};
    PyObject *result = PyObject_Vectorcall(self->call, all + 1, (size_t)count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(data);
    return result;
}

static PyObject *converting_new(PyTypeObject *class, PyObject *args, PyObject *kwargs) {
    static char *words[] = {"call", "decode", "quick", NULL};
    PyObject *call, *decode, *quick;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO", words, &call, &decode, &quick)) return NULL;
    Converting *self = (Converting *)class->tp_alloc(class, 0);
    if (!self) return NULL;
    self->vectorcall = converting_call;
    PARTS_OF_CONVERTING(KEEP)
    return (PyObject *)self;
}

static int converting_clear(PyObject *object) {
    Converting *self = (Converting *)object;
    put(&self->call, Py_None);
    put(&self->decode, Py_None);
    put(&self->quick, Py_None);
    return 0;
}

static PyMemberDef converting_members[] = CALLED_AT(Converting, vectorcall);
static PyType_Slot converting_slots[] = {{Py_tp_new, converting_new},           {Py_tp_call, PyVectorcall_Call},
                                         {Py_tp_traverse, converting_traverse}, {Py_tp_clear, converting_clear},
                                         {Py_tp_dealloc, converting_dealloc},   {Py_tp_members, converting_members},
                                         {0, NULL}};
static PyType_Spec converting_spec = {"node_ipc_native.Converting", sizeof(Converting), 0,
                                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
                                      converting_slots};

/* ---- out: Session.emit and broadcast ---- */

/* Whether the caller is in the thread that may emit: 1, 0, or -1 with an error. */
static int is_at_home(State *st, PyObject *out) {
    PyObject *thread = AT(out, outgoing_thread), *home = AT(out, outgoing_home);
    if (!thread || !home || !PyLong_CheckExact(home)) return 0;
    if (thread == st->get_ident) return PyLong_AsUnsignedLongMask(home) == PyThread_get_thread_ident();
    Py_INCREF(thread);
    PyObject *here = PyObject_CallNoArgs(thread);
    Py_DECREF(thread);
    home = AT(out, outgoing_home);
    int same = !here ? -1 : !home ? 0 : PyObject_RichCompareBool(here, home, Py_EQ);
    Py_XDECREF(here);
    return same;
}

/* The bytes of Outgoing.flush, a new reference; NULL without an error where that is the Python method's. */
static PyObject *flushed(State *st, PyObject *out) {
    PyObject *frames = AT(out, outgoing_frames), *speaker = AT(out, outgoing_speaker), *data;
    if (!frames || !PyList_CheckExact(frames) || !PyList_GET_SIZE(frames) || !AT(out, outgoing_link) ||
        AT(out, outgoing_link) == Py_None || !st->session || !IS_A(speaker, session) ||
        AT(speaker, session_traffic) != Py_None)
        return NULL;
    Py_ssize_t sent = PyLong_AsSsize_t(AT(out, outgoing_messages_out));
    if (sent < 0 || sent >= PyLong_AsSsize_t(AT(out, outgoing_look_at))) return NULL;
    if (PyList_GET_SIZE(frames) == 1 && PyBytes_CheckExact(PyList_GET_ITEM(frames, 0)))
        return Py_NewRef(PyList_GET_ITEM(frames, 0));
    data = PyObject_CallMethodOneArg(st->no_bytes, st->word_join, frames);
    if (!data && PyErr_ExceptionMatches(PyExc_TypeError)) PyErr_Clear(); /* some have large bytes */
    return data;
}

static int flush(State *st, PyObject *out) {
    PyObject *data = flushed(st, out), *result = NULL;
    if (!data) return PyErr_Occurred() ? -1 : done(PyObject_CallOneArg(st->flush, out));
    PyObject *sent = Py_NewRef(AT(out, outgoing_messages_out)), *link = Py_NewRef(AT(out, outgoing_link));
    Py_ssize_t count = PyList_GET_SIZE(AT(out, outgoing_frames));
    int rc = add(&AT(out, outgoing_messages_out), count);
    if (rc == 0) rc = add(&AT(out, outgoing_bytes_out), PyBytes_GET_SIZE(data));
    if (rc == 0) rc = PyList_SetSlice(AT(out, outgoing_frames), 0, count, NULL);
    put(&AT(out, outgoing_weighed), st->zero);
    put(&AT(out, outgoing_bytes), st->zero);
    if (rc == 0 && !(result = PyObject_CallMethodOneArg(link, st->word_write, data)))
        result = call_in_except(out, st->word__in_doubt, NULL, NULL);
    if (rc == 0) rc = done(result);
    if (rc == 0 && AT(out, outgoing_is_full) == Py_True)
        rc = done(PyObject_CallMethodObjArgs(out, st->word__is_left, sent, data, NULL));
    Py_DECREF(data);
    Py_DECREF(link);
    Py_DECREF(sent);
    return rc;
}

static PyObject *flush_call(PyObject *method, PyObject *const *args, size_t flags, PyObject *names) {
    State *st = ((Method *)method)->st;
    if (names || PyVectorcall_NARGS(flags) != 1 || !IS(args[0], outgoing))
        return call_pure((Method *)method, args, flags, names);
    return flush(st, args[0]) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Append a frame that is encoded; what `Outgoing.write` returns. */
static PyObject *append(State *st, PyObject *out, PyObject *frame) {
    PyObject *frames = AT(out, outgoing_frames);
    if (!frames || !PyList_CheckExact(frames) || !AT(out, outgoing_below_soft))
        return PyErr_Format(PyExc_TypeError, "this is no outgoing half of a session");
    if (PyList_Append(frames, frame) < 0) return NULL;
    Py_ssize_t size = PyObject_Size(frame);
    if (size < 0) return NULL;
    if (AT(out, outgoing_corked) == Py_True && PyList_GET_SIZE(frames) % FLUSH_FRAMES && size <= COUNTED_BYTES)
        return Py_NewRef(AT(out, outgoing_below_soft));
    return PyObject_CallMethodOneArg(out, st->word_press, frame);
}

/* Whether an event that is more than a name says keep=…: the slow way then; -1 with an error. */
static int keeps(State *st, PyObject *type) {
    if (PyUnicode_CheckExact(type) || PyBytes_CheckExact(type) || !PyObject_HasAttr(type, st->word_keep)) return 0;
    PyObject *keep = PyObject_GetAttr(type, st->word_keep);
    Py_XDECREF(keep);
    return keep ? keep != Py_None : -1;
}

static PyObject *emit_call(PyObject *method, PyObject *const *args, size_t flags, PyObject *names) {
    State *st = ((Method *)method)->st;
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    if (names || count < 2 || count > 3 || !IS_A(args[0], session)) goto pure;
    PyObject *out = AT(args[0], session_outgoing);
    if (!IS(out, outgoing) || !AT(out, outgoing_encode)) goto pure;
    int home = is_at_home(st, out), kept = keeps(st, args[1]);
    if (home < 0 || kept < 0) return NULL;
    if (!home || kept) goto pure;
    Py_INCREF(out); /* encoding runs code of the user's */
    PyObject *type = args[1], *data = count == 3 ? args[2] : st->empty, *encoder = Py_NewRef(AT(out, outgoing_encode));
    PyObject *frame = (PyObject *)Py_TYPE(encoder) == (PyObject *)st->Encoder
                          ? encode((Encoder *)encoder, type, data)
                          : PyObject_CallFunctionObjArgs(encoder, type, data, NULL);
    Py_DECREF(encoder);
    PyObject *result = frame ? append(st, out, frame) : NULL;
    Py_XDECREF(frame);
    Py_DECREF(out);
    return result;
pure:
    return call_pure((Method *)method, args, flags, names);
}

/* As Outgoing.write, where the turn is not corked yet: 1 where the peer's buffer is full, -1 with an error. */
static int write_to(State *st, PyObject *session, PyObject *frame) {
    PyObject *out = Py_NewRef(AT(session, session_outgoing)), *result = NULL;
    int full = 0;
    if (AT(out, outgoing_is_open) != Py_True) goto done;
    if (AT(out, outgoing_corked) != Py_True) {
        PyObject *driver = Py_NewRef(AT(session, session_driver));
        PyObject *turn = PyObject_CallMethodOneArg(driver, st->word_turn_ends, out);
        Py_DECREF(driver);
        if (!turn) {
            full = -1;
            goto done;
        }
        put(&AT(out, outgoing_turn), turn);
        put(&AT(out, outgoing_corked), turn);
        Py_DECREF(turn);
    }
    if (!(result = append(st, out, frame)) && (full = PyErr_ExceptionMatches(st->Backpressure) ? 1 : -1) > 0)
        PyErr_Clear();
done:
    Py_XDECREF(result);
    Py_DECREF(out);
    return full;
}

static int is_whole_session(State *st, PyObject *session) {
    return IS_A(session, session) && AT(session, session_driver) && IS(AT(session, session_outgoing), outgoing);
}

static PyObject *broadcast_call(PyObject *method, PyObject *const *args, size_t flags, PyObject *names) {
    State *st = ((Method *)method)->st;
    if (names || PyVectorcall_NARGS(flags) != 2 || !PyBytes_CheckExact(args[1]))
        return call_pure((Method *)method, args, flags, names);
    PyObject *all = PySequence_List(args[0]), *full = NULL;
    if (!all) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(all);
    for (Py_ssize_t i = 0; i < count; i++)
        if (!is_whole_session(st, PyList_GET_ITEM(all, i))) {
            PyObject *both[2] = {all, args[1]};
            full = call_pure((Method *)method, both, 2, NULL);
            goto done;
        }
    full = PyList_New(0);
    for (Py_ssize_t i = 0; full && i < count; i++) {
        PyObject *session = PyList_GET_ITEM(all, i);
        int is_full = write_to(st, session, args[1]);
        if (is_full < 0 || (is_full && PyList_Append(full, session) < 0)) Py_CLEAR(full);
    }
done:
    Py_DECREF(all);
    return full;
}

/* ---- in: one message ---- */

static const char BEGIN[] = "{\"type\":\"", MIDDLE[] = "\",\"data\":";
#define BEGIN_BYTES 9
#define MIDDLE_BYTES 9

/* The text of an event's name, a new reference; NULL without an error where these bytes are no plain name. */
static PyObject *name_of(State *st, const char *bytes, Py_ssize_t size) {
    if (size < 1 || size > NAME_MOST) return NULL;
    const unsigned char *b = (const unsigned char *)bytes;
    PyObject **place = &st->names[(size * 61u + b[0] * 7u + b[size / 2] * 31u + b[size - 1] * 3u) % NAMES];
    if (*place && PyUnicode_GET_LENGTH(*place) == size && !memcmp(PyUnicode_1BYTE_DATA(*place), bytes, (size_t)size))
        return Py_NewRef(*place);
    for (Py_ssize_t i = 0; i < size; i++)
        if (b[i] < 0x20 || b[i] > 0x7e || b[i] == '\\') return NULL;
    PyObject *name = PyUnicode_FromStringAndSize(bytes, size);
    if (!name) {
        PyErr_Clear();
        return NULL;
    }
    put(place, name);
    return name;
}

/* The name and the payload of a frame as we write it; 0 where it is another. */
static int take_apart(State *st, PyObject *frame, PyObject **name, PyObject **payload) {
    if (!PyBytes_CheckExact(frame)) return 0;
    const char *begin = PyBytes_AS_STRING(frame), *end = begin + PyBytes_GET_SIZE(frame) - 1;
    if (end - begin < BEGIN_BYTES + MIDDLE_BYTES + 1 || *end != '}' || memcmp(begin, BEGIN, BEGIN_BYTES)) return 0;
    const char *named = begin + BEGIN_BYTES;
    Py_ssize_t most = end - named - MIDDLE_BYTES;
    const char *quote = memchr(named, '"', (size_t)(most < NAME_MOST + 1 ? most : NAME_MOST + 1));
    if (!quote || memcmp(quote, MIDDLE, MIDDLE_BYTES)) return 0;
    const char *data = quote + MIDDLE_BYTES;
    if (data >= end) return 0;
    if (!(*name = name_of(st, named, quote - named))) return 0;
    *payload = PyBytes_FromStringAndSize(data, end - data);
    if (*payload) return 1;
    PyErr_Clear();
    Py_CLEAR(*name);
    return 0;
}

typedef struct {
    PyObject *name, *data, *call; /* `call` is NULL where nobody is registered */
    PyObject *decoded, *envelope; /* decoded: the payload, by the decoder of `call` itself */
} Message;

static void forget(Message *m) {
    Py_XDECREF(m->name);
    Py_XDECREF(m->data);
    Py_XDECREF(m->call);
    Py_XDECREF(m->decoded);
    Py_XDECREF(m->envelope);
}

/* Whether the frame is one that we can read by ourselves, and then what it says. */
static int read_quickly(State *st, PyObject *table, PyObject *frame, int raw, Message *m) {
    PyObject *payload;
    if (!take_apart(st, frame, &m->name, &payload)) return 0;
    m->call = Py_XNewRef(PyDict_GetItemWithError(table, m->name));
    if (m->call && (PyObject *)Py_TYPE(m->call) == (PyObject *)st->Converting) {
        PyObject *quick = Py_NewRef(((Converting *)m->call)->quick);
        if (raw && quick != Py_None) m->decoded = PyObject_CallOneArg(quick, payload);
        Py_DECREF(quick);
    }
    if (!m->decoded && (!PyErr_Occurred() || forget_ordinary_error())) /* it does not fit: let it be said as always */
        m->data = PyObject_CallOneArg(raw ? st->decode_raw_payload : st->decode_payload, payload);
    Py_DECREF(payload);
    if (m->data || m->decoded) return 1;
    if (!forget_ordinary_error()) return -1;
    Py_CLEAR(m->name);
    Py_CLEAR(m->call);
    return 0;
}

static int read_message(State *st, PyObject *table, PyObject *frame, int raw, Message *m) {
    int quickly = read_quickly(st, table, frame, raw, m);
    if (quickly) return quickly;
    m->envelope = PyObject_CallOneArg(raw ? st->decode_raw_envelope : st->decode_envelope, frame);
    if (!m->envelope || !(m->name = PyObject_GetAttr(m->envelope, st->word_type)) ||
        !(m->data = PyObject_GetAttr(m->envelope, st->word_data)))
        return -1;
    m->call = Py_XNewRef(PyDict_GetItemWithError(table, m->name));
    return m->call || !PyErr_Occurred() ? 1 : -1;
}

static int tell_unheard(State *st, PyObject *events, int raw, Message *m, PyObject *socket) {
    if (!m->envelope) {
        PyObject *class = raw ? st->RawEnvelope : st->Envelope;
        if (!(m->envelope = PyObject_CallFunctionObjArgs(class, m->name, m->data, NULL))) return -1;
    }
    return done(PyObject_CallMethodObjArgs(events, st->word__unheard, m->envelope, socket, NULL));
}

/* One message to whoever is registered; -1 with an error that ends the loop. `socket` is NULL on a client. */
static int handle(State *st, PyObject *events, PyObject *table, PyObject *frame, int raw, PyObject *socket,
                  PyObject *session) {
    Message m = {NULL, NULL, NULL, NULL, NULL};
    int rc = read_message(st, table, frame, raw, &m);
    if (rc > 0 && !m.call) {
        rc = tell_unheard(st, events, raw, &m, socket);
    } else if (rc > 0) {
        PyObject *arguments[3] = {NULL, m.decoded ? m.decoded : m.data, socket};
        PyObject *call = Py_NewRef(m.decoded ? ((Converting *)m.call)->call : m.call);
        PyObject *result =
            PyObject_Vectorcall(call, arguments + 1, (socket ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(call);
        rc = 0;
        if (result && result != Py_None && result != Py_True)
            rc = done(PyObject_CallMethodObjArgs(events, st->word__run_returned, m.name, result, NULL));
        if (!result || rc < 0) rc = done(call_in_except(events, st->word__report, m.name, session));
        Py_XDECREF(result);
    }
    forget(&m);
    return rc < 0 ? -1 : 0;
}

/* ---- in: a block of them ---- */

/* Events.deliver, over frames that are not decoded yet. */
static int deliver(State *st, PyObject *events, PyObject *frames, PyObject *session) {
    PyObject *table = AT(events, events_table), *carries = AT(events, events_carries), *frame, *previous;
    int raw = AT(events, events_wants_raw) == Py_True, rc = 0;
    PyObject *socket = carries && PyLong_Check(carries) && PyLong_AsLong(carries) == 2 ? session : NULL;
    if (!table || !PyDict_CheckExact(table) || !AT(events, events_current))
        return done(PyErr_Format(PyExc_TypeError, "the events have no table"));
    Py_INCREF(table);
    previous = Py_NewRef(AT(events, events_current));
    put(&AT(events, events_current), session);
    while (!rc && (frame = PyIter_Next(frames))) {
        rc = handle(st, events, table, frame, raw, socket, session);
        Py_DECREF(frame);
    }
    if (!rc && PyErr_Occurred()) rc = -1;
    put(&AT(events, events_current), previous);
    Py_DECREF(previous);
    Py_DECREF(table);
    return rc;
}

/* Incoming._deliver: whether any message was sound; -1 with an error. */
static int deliver_block(State *st, PyObject *self, PyObject *block, PyObject *events, PyObject *hearer, PyObject *frames) {
    Py_INCREF(frames);
    PyObject *rest = NULL;
    int sound = -1;
    for (;;) {
        if (!rest) { /* Block.begin */
            put(&AT(block, block_messages), frames);
            if (!(rest = PyObject_GetIter(frames))) break;
            put(&AT(block, block_rest), rest);
        }
        if (deliver(st, events, rest, hearer) == 0) {
            PyObject *undecoded = AT(self, incoming_undecoded);
            int again = undecoded ? PyObject_IsTrue(undecoded) : 0;
            if (again <= 0) {
                put(&AT(block, block_messages), st->nothing);
                sound = again < 0 ? -1 : 1;
                break;
            }
            Py_SETREF(frames, Py_NewRef(undecoded));
            put(&AT(self, incoming_undecoded), st->nothing);
            Py_CLEAR(rest);
        } else {
            PyObject *how = call_in_except(self, st->word__stumbled, NULL, frames);
            if (!how) break;
            Py_DECREF(how);
            if (how == Py_None) continue;
            sound = how == Py_True;
            break;
        }
    }
    Py_XDECREF(rest);
    Py_DECREF(frames);
    return sound;
}

static int deliver_frames(State *st, PyObject *self, PyObject *hearer, PyObject *frames) {
    PyObject *block = AT(self, incoming_block), *events = AT(self, incoming_events), *first = PyList_GET_ITEM(frames, 0);
    if (!IS(AT(self, incoming_codec), framed_codec) || !IS(block, block) || !IS(events, events) ||
        AT(block, block_messages) != st->nothing || AT(events, events_watches) != Py_None ||
        !PyBytes_CheckExact(first) || PyBytes_GET_SIZE(first) > LARGE_FRAME) {
        PyObject *how = PyObject_CallMethodOneArg(self, st->word__deliver, frames);
        Py_XDECREF(how);
        return how ? how == Py_True : -1;
    }
    Py_INCREF(block);
    Py_INCREF(events);
    int sound = deliver_block(st, self, block, events, hearer, frames);
    Py_DECREF(block);
    Py_DECREF(events);
    return sound;
}

/* The context that `enter` enters: NULL where it is entered already. -1 where it is none of ours. */
static int context_of(State *st, PyObject *enter, PyObject **context) {
    *context = NULL;
    if (enter == st->directly) return 0;
    if (!enter || !PyCFunction_Check(enter)) return -1;
    *context = PyCFunction_GET_SELF(enter);
    return *context && PyContext_CheckExact(*context) ? 0 : -1;
}

/* LinkContext.run of the above. */
static int deliver_in_context(State *st, PyObject *self, PyObject *link_context, PyObject *hearer, PyObject *frames) {
    PyObject *enter = AT(link_context, context_enter), *context;
    if (context_of(st, enter, &context) < 0)
        return done(PyErr_Format(PyExc_TypeError, "a link's context is entered by its run"));
    int sound = -1;
    Py_INCREF(enter);
    put(&AT(link_context, context_enter), st->directly);
    if (!context || PyContext_Enter(context) == 0) {
        sound = deliver_frames(st, self, hearer, frames);
        if (context) {
            PyObject *error = sound < 0 ? take_error() : NULL;
            if (PyContext_Exit(context) < 0) sound = -1;
            if (error) {
                PyErr_Clear();
                raise_again(error);
            }
        }
    }
    put(&AT(link_context, context_enter), enter);
    Py_DECREF(enter);
    return sound;
}

/* ---- in: a read ---- */

static int is_ascii(const char *p, Py_ssize_t size) {
    uint64_t all = 0, part;
    for (; size >= 8; size -= 8, p += 8) {
        memcpy(&part, p, 8);
        all |= part;
    }
    for (; size; size--) all |= (unsigned char)*p++;
    return !(all & 0x8080808080808080u);
}

static int is_empty(PyObject *rest) {
    return (PyByteArray_CheckExact(rest) && !PyByteArray_GET_SIZE(rest)) ||
           (PyBytes_CheckExact(rest) && !PyBytes_GET_SIZE(rest));
}

/* Whether a frame may begin here behind which bytes follow, in a stream where there are such. */
static int may_attach(const char *p, Py_ssize_t size) {
    static const char begin[] = "{\"attachments\":[";
    const char *end = p + size - (Py_ssize_t)sizeof begin + 2;
    while (p < end && (p = memchr(p, '{', (size_t)(end - p)))) {
        if (!memcmp(p, begin, sizeof begin - 1)) return 1;
        p++;
    }
    return 0;
}

/* Splitter.split where nothing waits and there is nothing to check: the whole frames; what is behind them is kept. */
static PyObject *cut(State *st, PyObject *splitter, PyObject *data, char delimiter) {
    PyObject *frames = PyList_New(0);
    const char *from = PyBytes_AS_STRING(data), *end = from + PyBytes_GET_SIZE(data), *stop;
    while (frames && (stop = memchr(from, delimiter, (size_t)(end - from)))) {
        PyObject *frame = PyBytes_FromStringAndSize(from, stop - from);
        if (!frame || PyList_Append(frames, frame) < 0) Py_CLEAR(frames);
        Py_XDECREF(frame);
        from = stop + 1;
    }
    if (frames && from < end) {
        PyObject *rest = PyByteArray_FromStringAndSize(from, end - from);
        if (rest) Py_XSETREF(AT(splitter, splitter_rest), rest);
        else Py_CLEAR(frames);
    }
    return frames;
}

static PyObject *split(State *st, PyObject *splitter, PyObject *data) {
    PyObject *delimiter = AT(splitter, splitter_delimiter), *limit = AT(splitter, splitter_limit);
    PyObject *rest = AT(splitter, splitter_rest);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    if ((IS(splitter, splitter) || !may_attach(PyBytes_AS_STRING(data), size)) && delimiter &&
        PyBytes_CheckExact(delimiter) && PyBytes_GET_SIZE(delimiter) == 1 && rest && is_empty(rest) && limit &&
        PyLong_CheckExact(limit) && is_ascii(PyBytes_AS_STRING(data), size)) {
        int overflow;
        long long most = PyLong_AsLongLongAndOverflow(limit, &overflow);
        if (overflow > 0 || (!overflow && size <= most)) return cut(st, splitter, data, *PyBytes_AS_STRING(delimiter));
    }
    PyObject *frames = PyObject_CallMethodOneArg(splitter, st->word_split, data);
    if (frames && !PyList_CheckExact(frames)) Py_SETREF(frames, PyErr_Format(PyExc_TypeError, "a splitter gives a list"));
    return frames;
}

/* What of the session a read needs; all borrowed from slots, and held by `received`. */
typedef struct {
    PyObject *self, *outgoing, *hearer, *splitter, *context;
} Read;

/* Whether this read is the common case; nothing was changed yet. */
static int is_common(State *st, Read *r, PyObject *data) {
    PyObject *self = r->self, *pauses, *held, *context;
    if (!PyBytes_CheckExact(data) || !IS_A(self, incoming)) return 0;
    r->outgoing = AT(self, incoming_outgoing);
    r->hearer = AT(self, incoming_hearer);
    r->splitter = AT(self, incoming_splitter);
    r->context = AT(self, incoming_context);
    pauses = AT(self, incoming_pauses);
    held = AT(self, incoming_held);
    return st->flush && st->session && IS(r->outgoing, outgoing) && IS_A(r->splitter, splitter) &&
           IS(r->context, context) && IS_A(r->hearer, session) && pauses && PyFrozenSet_CheckExact(pauses) &&
           !PySet_GET_SIZE(pauses) && held && PyList_CheckExact(held) && !PyList_GET_SIZE(held) &&
           AT(r->hearer, session_heard) && AT(r->hearer, session_traffic) && AT(self, incoming_bytes_in) &&
           AT(self, incoming_messages_in) && AT(self, incoming_beats) && AT(self, incoming_half_since) &&
           AT(self, incoming_is_shut) && AT(r->splitter, splitter_fault) && AT(r->splitter, splitter_rest) &&
           AT(r->outgoing, outgoing_is_open) && AT(r->outgoing, outgoing_turn) && AT(r->outgoing, outgoing_is_full) &&
           AT(r->outgoing, outgoing_frames) && PyList_CheckExact(AT(r->outgoing, outgoing_frames)) &&
           context_of(st, AT(r->context, context_enter), &context) == 0;
}

/* A whole message came, which somebody waits for; heartbeats alone do not count. */
static int tell_heard(State *st, Read *r, Py_ssize_t count) {
    PyObject *heard = AT(r->hearer, session_heard);
    if (!heard || heard == Py_None) return 0;
    if (PyLong_AsSsize_t(AT(r->self, incoming_beats)) < count) {
        Py_INCREF(heard);
        int rc = done(PyObject_CallNoArgs(heard));
        Py_DECREF(heard);
        if (rc < 0) return -1;
    }
    put(&AT(r->self, incoming_beats), st->zero);
    return 0;
}

static int tell_traffic(State *st, Read *r, Py_ssize_t count, PyObject *data) {
    if (AT(r->hearer, session_traffic) == Py_None) return 0;
    return done(PyObject_CallMethod(r->hearer, "read", "nn", count, PyBytes_GET_SIZE(data)));
}

static int end_read(State *st, Read *r, Py_ssize_t count) {
    PyObject *rest = AT(r->splitter, splitter_rest);
    if (AT(r->splitter, splitter_fault) != Py_None || !is_empty(rest) || AT(r->self, incoming_half_since) != Py_None) {
        PyObject *brought = count ? Py_True : Py_False;
        if (done(PyObject_CallMethodObjArgs(r->self, st->word__end_read, r->splitter, brought, NULL)) < 0) return -1;
    }
    PyObject *out = r->outgoing, *turn; /* Outgoing.uncork */
    if (PyList_GET_SIZE(AT(out, outgoing_frames)) && AT(out, outgoing_is_full) != Py_True &&
        AT(out, outgoing_is_open) == Py_True && flush(st, out) < 0)
        return -1;
    turn = AT(out, outgoing_turn);
    put(&AT(out, outgoing_corked), turn == Py_True ? turn : AT(out, outgoing_is_full));
    return 0;
}

static int take_read(State *st, Read *r, PyObject *data) {
    if (add(&AT(r->self, incoming_bytes_in), PyBytes_GET_SIZE(data)) < 0) return -1;
    put(&AT(r->outgoing, outgoing_corked), Py_True);
    PyObject *frames = split(st, r->splitter, data);
    if (!frames) return -1;
    Py_ssize_t count = PyList_GET_SIZE(frames);
    int sound = 0;
    if (count) {
        sound = add(&AT(r->self, incoming_messages_in), count);
        if (sound == 0) sound = deliver_in_context(st, r->self, r->context, r->hearer, frames);
    }
    Py_DECREF(frames);
    if (sound < 0 || (sound && tell_heard(st, r, count) < 0) || tell_traffic(st, r, count, data) < 0) return -1;
    return AT(r->self, incoming_is_shut) == Py_True ? 0 : end_read(st, r, count);
}

static PyObject *received_call(PyObject *method, PyObject *const *args, size_t flags, PyObject *names) {
    State *st = ((Method *)method)->st;
    if (names || PyVectorcall_NARGS(flags) != 2) return call_pure((Method *)method, args, flags, names);
    Read r = {args[0], NULL, NULL, NULL, NULL};
    if (!is_common(st, &r, args[1])) return call_pure((Method *)method, args, flags, names);
    PyObject *held[] = {Py_NewRef(r.outgoing), Py_NewRef(r.hearer), Py_NewRef(r.splitter), Py_NewRef(r.context)};
    int rc = take_read(st, &r, args[1]);
    for (size_t i = 0; i < sizeof held / sizeof *held; i++) Py_DECREF(held[i]);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- the module: what Python hands over, and gets ---- */

static int know(State *st, PyObject **place, PyObject *class) {
    if (!PyType_Check(class)) return done(PyErr_Format(PyExc_TypeError, "%R is no class", class));
    put(place, class);
#define X(owner, name, text)                                                                                           \
    if (place == &st->owner && (st->owner##_##name = offset_of(class, text)) < 0) return -1;
    SLOTS(X)
#undef X
    return 0;
}

static PyObject *received(PyObject *module, PyObject *args) {
    State *st = PyModule_GetState(module);
    PyObject *pure, *incoming, *outgoing, *block, *context, *events, *splitter, *codec, *directly, *nothing;
    if (!PyArg_ParseTuple(args, "OOOOOOOOOO:received", &pure, &incoming, &outgoing, &block, &context, &events, &splitter,
                          &codec, &directly, &nothing) ||
        know(st, &st->incoming, incoming) < 0 || know(st, &st->outgoing, outgoing) < 0 ||
        know(st, &st->block, block) < 0 || know(st, &st->context, context) < 0 || know(st, &st->events, events) < 0 ||
        know(st, &st->splitter, splitter) < 0 || know(st, &st->framed_codec, codec) < 0)
        return NULL;
    put(&st->directly, directly);
    put(&st->nothing, nothing);
    return new_method(module, pure, received_call);
}

static PyObject *flushing(PyObject *module, PyObject *args) {
    State *st = PyModule_GetState(module);
    PyObject *pure, *outgoing;
    if (!PyArg_ParseTuple(args, "OO:flush", &pure, &outgoing) || know(st, &st->outgoing, outgoing) < 0) return NULL;
    put(&st->flush, pure);
    return new_method(module, pure, flush_call);
}

static PyObject *method_on_sessions(PyObject *module, PyObject *args, vectorcallfunc call) {
    State *st = PyModule_GetState(module);
    PyObject *pure, *session;
    if (!PyArg_ParseTuple(args, "OO", &pure, &session) || know(st, &st->session, session) < 0) return NULL;
    return new_method(module, pure, call);
}

static PyObject *emit(PyObject *module, PyObject *args) { return method_on_sessions(module, args, emit_call); }
static PyObject *broadcast(PyObject *module, PyObject *args) { return method_on_sessions(module, args, broadcast_call); }

static PyMethodDef functions[] = {
    {"received", received, METH_VARARGS, "In the place of Incoming.received."},
    {"flush", flushing, METH_VARARGS, "In the place of Outgoing.flush."},
    {"emit", emit, METH_VARARGS, "In the place of Session.emit."},
    {"broadcast", broadcast, METH_VARARGS, "In the place of core.session.broadcast."},
    {NULL, NULL, 0, NULL},
};

static int take(PyObject **place, const char *module, const char *name) {
    PyObject *from = PyImport_ImportModule(module);
    *place = from ? PyObject_GetAttrString(from, name) : NULL;
    Py_XDECREF(from);
    return *place ? 0 : -1;
}

/* msgspec.json.Decoder(…).decode */
static PyObject *payload_decoder(const char *type) {
    PyObject *json = PyImport_ImportModule("msgspec.json"), *class = NULL, *decoder = NULL, *decode = NULL;
    if (json) decoder = type ? NULL : PyObject_CallMethod(json, "Decoder", NULL);
    if (json && type && take(&class, "msgspec", type) == 0) decoder = PyObject_CallMethod(json, "Decoder", "O", class);
    if (decoder) decode = PyObject_GetAttrString(decoder, "decode");
    Py_XDECREF(json);
    Py_XDECREF(class);
    Py_XDECREF(decoder);
    return decode;
}

static PyTypeObject *make_type(PyObject *module, PyType_Spec *spec) {
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type && PyModule_AddType(module, type) < 0) Py_CLEAR(type);
    return type;
}

static int begin(PyObject *module) {
    State *st = PyModule_GetState(module);
#define X(name)                                                                                                        \
    if (!(st->word_##name = PyUnicode_InternFromString(#name))) return -1;
    WORDS(X)
#undef X
    if (!(st->Method = make_type(module, &method_spec)) || !(st->Encoder = make_type(module, &encoder_spec)) ||
        !(st->Converting = make_type(module, &converting_spec)) || !(st->empty = PyDict_New()) ||
        !(st->zero = PyLong_FromLong(0)) || !(st->no_bytes = PyBytes_FromStringAndSize(NULL, 0)) ||
        take(&st->get_ident, "_thread", "get_ident") < 0 ||
        take(&st->Backpressure, "node_ipc.errors", "BackpressureError") < 0 ||
        take(&st->Envelope, "node_ipc.wire.json", "Envelope") < 0 ||
        take(&st->RawEnvelope, "node_ipc.wire.json", "RawEnvelope") < 0 ||
        take(&st->decode_envelope, "node_ipc.wire.json", "decode_envelope") < 0 ||
        take(&st->decode_raw_envelope, "node_ipc.wire.json", "decode_raw_envelope") < 0 ||
        !(st->decode_payload = payload_decoder(NULL)) || !(st->decode_raw_payload = payload_decoder("Raw")))
        return -1;
    return PyModule_AddStringConstant(module, "__version__", VERSION);
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    State *st = PyModule_GetState(module);
#define X(name) Py_VISIT(st->name);
    TYPES(X) CLASSES(X) OBJECTS(X)
#undef X
    return 0;
}

static int clear(PyObject *module) {
    State *st = PyModule_GetState(module);
#define X(name) Py_CLEAR(st->name);
    TYPES(X) CLASSES(X) OBJECTS(X)
#undef X
#define X(name) Py_CLEAR(st->word_##name);
    WORDS(X)
#undef X
    for (int i = 0; i < NAMES; i++) Py_CLEAR(st->names[i]);
    return 0;
}

static void end(void *module) { clear(module); }

static PyModuleDef_Slot slots[] = {{Py_mod_exec, begin},
#if PY_VERSION_HEX >= 0x030c0000
                                   {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
                                   {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "node_ipc_native", "The hot path of node_ipc, in C.",
                                 sizeof(State), functions, slots, traverse, clear, end};

PyMODINIT_FUNC PyInit_node_ipc_native(void) {
    return PyModuleDef_Init(&definition);
}
