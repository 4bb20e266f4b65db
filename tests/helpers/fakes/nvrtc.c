/* A stand-in for NVRTC: what it makes of a text is the text behind the name of one of its kernels, as PTX has it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *nvrtcGetErrorString(int error) { return error ? "NVRTC_ERROR" : "NVRTC_SUCCESS"; }
int nvrtcVersion(int *major, int *minor) { return *major = 12, *minor = 6, 0; }
int nvrtcCreateProgram(void **program, const char *text, const char *name, int headers, const char **h, const char **n) {
    const char *head = ".entry peaks\n";
    *program = calloc(strlen(head) + strlen(text) + 1, 1);
    return strcat(strcpy(*program, head), text), !name || headers || h || n;
}
int nvrtcCompileProgram(void *program, int count, const char **options) {
    return !program || count != 2 || strcmp(options[0], "--fmad=false") || strncmp(options[1], "--gpu-arch", 10);
}
int nvrtcGetProgramLogSize(void *program, size_t *size) { return *size = 1, !program; }
int nvrtcGetProgramLog(void *program, char *log) { return *log = 0, !program; }
int nvrtcGetPTXSize(void *program, size_t *size) { return *size = strlen(program) + 1, 0; }
int nvrtcGetPTX(void *program, char *target) { return strcpy(target, program), 0; }
int nvrtcDestroyProgram(void **program) { return free(*program), *program = NULL, 0; }
