/* A stand-in for libcudart and libcuda in one library: device memory is the host's, and work is done at once.

   Compile with -DVERSION=12000 (or 10020, which has the older cudaGraphInstantiate) under both libraries' names; as links
   to one file they share one state. Every allocation, call and free is a line of `fake_log`: "+device", "=htod",
   "-device"; freed outside a context it is "-leaked device", freed by the wrong function "!cudaFree".

   FAKE_COMPUTE is the compute capability, such as 6.2; FAKE_MULTIPROCESSORS their number; FAKE_INTEGRATED is 1 on a board;
   FAKE_NO_DRIVER makes cuInit fail.
   FAKE_CUDA_FAULT makes a call fail: context, pinned, device (the second; device5 is the fifth), copy, launch, module or
   capture (its end).
   FAKE_KERNELS is a library of `host_kernels`, which runs our kernels; a launch of them is noted with blocks and threads. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OUT_OF_MEMORY 2
#define INVALID 1
#define NO_DEVICE 100
#define NO_CONTEXT 201
#define NOT_FOUND 500
#define CAPTURE_FAILED 901
#define LAUNCH_FAILED 719

typedef struct object {
    const char *kind;
    void *data;
    struct object *next;
} object;
typedef struct {
    int kind; /* 0: copy, 1: kernel, 2: a function, which is the target */
    void *target;
    const void *source;
    size_t size;
} work;
typedef struct {
    work items[64];
    int count;
} graph;

static char record[1 << 20];
static object *objects;
static graph *captured;
static int mallocs;
static int last_error;
static int maps;
static __thread int contexts;

const char *fake_log(void) { return record; }

void fake_note(const char *line) {
    const int released = line[0] == '-' && !contexts && strcmp(line, "-context");
    snprintf(record + strlen(record), sizeof record - strlen(record), released ? "-leaked %s\n" : "%s\n",
             released ? line + 1 : line);
}

void fake_clear(void) { record[0] = 0, mallocs = maps = 0; }

static void note(char sign, const char *kind) {
    char line[64];
    snprintf(line, sizeof line, "%c%s", sign, kind);
    fake_note(line);
}

static int fault(const char *name) {
    const char *wanted = getenv("FAKE_CUDA_FAULT");
    return wanted && !strcmp(wanted, name);
}

static int device_fault(int count) {
    const char *wanted = getenv("FAKE_CUDA_FAULT");
    return wanted && !strncmp(wanted, "device", 6) && count == (wanted[6] ? atoi(wanted + 6) : 2);
}

static int make(const char *kind, size_t size, void **result) {
    object *made;
    if (!contexts && strcmp(kind, "context")) return NO_CONTEXT;
    made = malloc(sizeof *made);
    made->kind = kind, made->data = calloc(size, 1), made->next = objects, objects = made;
    *result = made->data;
    note('+', kind);
    return 0;
}

/* Free what is one of two kinds. */
static int unmake(const char *kind, const char *other, void *data, const char *function) {
    object **at = &objects, *found;
    while (*at && (*at)->data != data) at = &(*at)->next;
    if (!*at || (strcmp((*at)->kind, kind) && strcmp((*at)->kind, other))) return note('!', function), INVALID;
    found = *at, *at = found->next;
    note('-', found->kind);
    free(found->data), free(found);
    return 0;
}

static const char *text(int error) {
    switch (error) {
    case INVALID: return "invalid argument";
    case OUT_OF_MEMORY: return "out of memory";
    case NO_DEVICE: return "no CUDA-capable device is detected";
    case NO_CONTEXT: return "invalid device context";
    case NOT_FOUND: return "named symbol not found";
    case CAPTURE_FAILED: return "operation failed due to a previous error during capture";
    case LAUNCH_FAILED: return "unspecified launch failure";
    default: return "another error";
    }
}

/* libcudart; what it remembers of errors here is that of a capture alone */

int cudaGetLastError(void) {
    const int found = last_error;
    return last_error = 0, found;
}
int cudaPeekAtLastError(void) { return last_error; }

const char *cudaGetErrorName(int error) { return error == OUT_OF_MEMORY ? "cudaErrorMemoryAllocation" : "cudaError"; }
const char *cudaGetErrorString(int error) { return text(error); }
int cudaRuntimeGetVersion(int *version) { return *version = VERSION, 0; }
int cudaGetDeviceCount(int *count) { return *count = 1, 0; }

static const char *number(const char *name, const char *otherwise) { return getenv(name) ? getenv(name) : otherwise; }

int cudaDeviceGetAttribute(int *value, int which, int device) {
    const char *compute = number("FAKE_COMPUTE", "8.7");
    if (device) return INVALID;
    *value = which == 16 ? atoi(number("FAKE_MULTIPROCESSORS", "8")) : which == 18 ? getenv("FAKE_INTEGRATED") != NULL : 0;
    if (which == 75) *value = atoi(compute);
    if (which == 76) *value = atoi(strchr(compute, '.') + 1);
    return 0;
}

int cudaMalloc(void **pointer, size_t size) {
    if (device_fault(++mallocs)) return OUT_OF_MEMORY;
    return make("device", size, pointer);
}
int cudaMallocManaged(void **pointer, size_t size, unsigned flags) {
    return flags == 1 ? make("managed", size, pointer) : INVALID;
}
/* Without a pointer it makes the primary context, in which host memory can be mapped. */
int cudaFree(void *pointer) {
    return pointer ? unmake("device", "managed", pointer, "cudaFree") : (maps = 1, 0);
}
int cudaHostAlloc(void **pointer, size_t size, unsigned flags) {
    if (fault("pinned")) return OUT_OF_MEMORY;
    return make(flags == 2 ? "mapped" : "pinned", size, pointer);
}
int cudaFreeHost(void *pointer) { return unmake("pinned", "mapped", pointer, "cudaFreeHost"); }
int cudaHostGetDevicePointer(void **device, void *host, unsigned flags) {
    return flags || !maps ? INVALID : (*device = host, 0);
}

static void add_one(float *data, unsigned count) {
    unsigned index;
    for (index = 0; index < count; index++) data[index] += 1;
}

static int enqueue(work item) {
    if (!contexts) return NO_CONTEXT;
    if (captured) return captured->items[captured->count++] = item, 0;
    if (item.kind == 2) ((void (*)(void))item.target)();
    else if (item.kind) add_one(item.target, (unsigned)item.size);
    else memcpy(item.target, item.source, item.size);
    return 0;
}

/* What another stand-in enqueues, and whether that is recorded. */
int fake_run(void (*run)(void), void *stream) {
    work item = {2, (void *)run, NULL, 0};
    return stream ? enqueue(item) : INVALID;
}
int fake_capturing(void) { return captured != NULL; }

int cudaMemcpyAsync(void *target, const void *source, size_t size, int kind, void *stream) {
    work item = {0, target, source, size};
    if (kind == 1 && fault("copy")) return NO_CONTEXT;
    note('=', kind == 1 ? "htod" : "dtoh");
    return stream ? enqueue(item) : INVALID;
}

int cudaStreamCreateWithFlags(void **stream, unsigned flags) { return flags == 1 ? make("stream", 1, stream) : INVALID; }
int cudaStreamSynchronize(void *stream) { return stream ? 0 : INVALID; }
int cudaStreamDestroy(void *stream) { return unmake("stream", "", stream, "cudaStreamDestroy"); }

int cudaEventCreateWithFlags(void **event, unsigned flags) { return make("event", sizeof(struct timespec), event); }
int cudaEventRecord(void *event, void *stream) { return clock_gettime(CLOCK_MONOTONIC, event), stream ? 0 : INVALID; }
int cudaEventSynchronize(void *event) { return fault("launch") ? LAUNCH_FAILED : event ? 0 : INVALID; }
int cudaEventElapsedTime(float *milliseconds, void *first, void *last) {
    const struct timespec *from = first, *to = last;
    *milliseconds = (float)((to->tv_sec - from->tv_sec) * 1e3 + (to->tv_nsec - from->tv_nsec) * 1e-6);
    return 0;
}
int cudaEventDestroy(void *event) { return unmake("event", "", event, "cudaEventDestroy"); }

int cudaStreamBeginCapture(void *stream, int mode) {
    return mode == 1 && stream ? make("graph", sizeof(graph), (void **)&captured) : INVALID;
}
int cudaStreamEndCapture(void *stream, void **result) {
    if (!captured) return CAPTURE_FAILED;
    *result = captured, captured = NULL;
    if (!fault("capture")) return stream ? 0 : INVALID;
    unmake("graph", "", *result, "cudaStreamEndCapture"), *result = NULL;
    return last_error = CAPTURE_FAILED;
}
int cudaGraphDestroy(void *made) { return unmake("graph", "", made, "cudaGraphDestroy"); }
int cudaGraphExecDestroy(void *made) { return unmake("graph exec", "", made, "cudaGraphExecDestroy"); }

static int instantiate(void **result, void *from) {
    const int error = make("graph exec", sizeof(graph), result);
    if (!error) memcpy(*result, from, sizeof(graph));
    return error;
}
#if VERSION >= 12000
int cudaGraphInstantiate(void **result, void *from, unsigned long long flags) {
    return flags ? INVALID : instantiate(result, from);
}
int cudaGraphInstantiateWithFlags(void **result, void *from, unsigned long long flags) {
    return flags ? INVALID : instantiate(result, from);
}
#else
int cudaGraphInstantiate(void **result, void *from, void **node, char *buffer, size_t size) {
    return node || buffer || size ? INVALID : instantiate(result, from);
}
#endif

int cudaGraphLaunch(void *made, void *stream) {
    const graph *whole = made;
    int index, error = stream ? 0 : INVALID;
    note('=', "graph");
    for (index = 0; index < whole->count && !error; index++) error = enqueue(whole->items[index]);
    return error;
}

/* libcuda */

int cuInit(unsigned flags) { return getenv("FAKE_NO_DRIVER") ? NO_DEVICE : flags ? INVALID : 0; }
int cuDriverGetVersion(int *version) { return *version = VERSION, 0; }
int cuGetErrorName(int error, const char **name) { return *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR", 0; }
int cuGetErrorString(int error, const char **found) { return *found = text(error), 0; }
int cuDeviceGet(int *device, int number) { return *device = number, number ? INVALID : 0; }
int cuDeviceGetName(char *name, int size, int device) { return snprintf(name, size, "Fake GPU"), device ? INVALID : 0; }

static int primary;
static int retained;

int cuDevicePrimaryCtxRetain(void **context, int device) {
    if (fault("context")) return OUT_OF_MEMORY;
    *context = &primary, retained++;
    note('+', "context");
    return device ? INVALID : 0;
}
int cuDevicePrimaryCtxRelease(int device) {
    if (device || !retained) return note('!', "cuDevicePrimaryCtxRelease"), INVALID;
    retained--;
    note('-', "context");
    return 0;
}
int cuCtxPushCurrent_v2(void *context) { return context == &primary && retained ? (contexts++, 0) : NO_CONTEXT; }
int cuCtxPopCurrent_v2(void **context) { return contexts ? (*context = &primary, contexts--, 0) : NO_CONTEXT; }

static int is_add_one(const char *name) { return !strcmp(name, "add_one"); }

int cuModuleLoadData(void **module, const void *image) {
    if (fault("module")) return OUT_OF_MEMORY;
    return strstr(image, getenv("FAKE_KERNELS") ? ".entry peaks" : ".entry add_one") ? make("module", 1, module) : INVALID;
}
int cuModuleUnload(void *module) { return unmake("module", "", module, "cuModuleUnload"); }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    static char names[16][32];
    int index = 0;
    while (*names[index] && strcmp(names[index], name)) index++;
    strcpy(names[index], name);
    *function = names[index];
    return !module || (!getenv("FAKE_KERNELS") && !is_add_one(name)) ? NOT_FOUND : 0;
}
int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared, void *stream, void **arguments, void **extra) {
    if (!is_add_one(function)) {
        const unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
        int (*run)(const char *, const unsigned *, const unsigned *, void **);
        char line[64];
        *(void **)&run = dlsym(dlopen(getenv("FAKE_KERNELS"), RTLD_NOW), "launch");
        snprintf(line, sizeof line, "%s %u,%u %u,%u", (char *)function, grid_x, grid_y, block_x, block_y);
        note('=', line);
        return shared || extra || !stream || captured ? INVALID : run(function, grid, block, arguments);
    }
    const unsigned threads = grid_x * grid_y * grid_z * block_x * block_y * block_z;
    const unsigned count = *(unsigned *)arguments[1];
    work item = {1, *(void **)arguments[0], NULL, count < threads ? count : threads};
    note('=', "kernel");
    return !function || shared || extra || !stream ? INVALID : enqueue(item);
}
