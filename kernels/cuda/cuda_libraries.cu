#include "kernels/cuda/cuda_libraries.h"

#include <cublas_v2.h>
#include <cusolverDn.h>
#include <stdio.h>

#include "kernels/cuda/cuda_library.h"

extern "C" {
#include "kernels/library.h"
}

typedef struct description {
  const char *name;
  int major; /* of the file's name */
  const char *file, *question;
  bool by_part; /* the question has two arguments: part of the version, and its value */
} description;

static void ask(const description *d, void *function, sb_library_report *out) {
  int version[3] = {0, 0, 0};
  if (d->by_part) {
    int (*part_of)(libraryPropertyType, int *);
    *(void **)&part_of = function;
    (void)part_of(MAJOR_VERSION, &version[0]);
    (void)part_of(MINOR_VERSION, &version[1]);
    (void)part_of(PATCH_LEVEL, &version[2]);
  } else {
    int all = 0;
    int (*whole)(int *);
    *(void **)&whole = function;
    (void)whole(&all); /* 22703: 2.27.3 */
    version[0] = all / 10000;
    version[1] = all / 100 % 100;
    version[2] = all % 100;
  }
  snprintf(out->version, sizeof out->version, "%d.%d.%d", version[0], version[1], version[2]);
  (void)sb_library_path(out->path, sizeof out->path, function);
}

void sb_cuda_libraries_report(sb_library_report out[SB_REPORT_LIBRARIES]) {
  const description descriptions[SB_REPORT_LIBRARIES] = {
      {"cuBLAS", CUBLAS_VER_MAJOR, "libcublas.so", "cublasGetProperty", true},
      {"cuSOLVER", CUSOLVER_VER_MAJOR, "libcusolver.so", "cusolverGetProperty", true},
      {"NCCL", 2, "libnccl.so", "ncclGetVersion", false}};
  for (int i = 0; i < SB_REPORT_LIBRARIES; i++) {
    const description *d = &descriptions[i];
    void *library, *function = NULL;
    char file[64];
    const sb_cuda_symbol symbol = {d->question, &function};
    out[i].name = d->name;
    snprintf(file, sizeof file, "%s.%d", d->file, d->major);
    if (sb_cuda_library_load(&library, file, &symbol, 1, d->name, "this machine",
                             "what does without") != SB_OK) {
      snprintf(out[i].trouble, sizeof out[i].trouble, "%s", sb_message());
      continue;
    }
    ask(d, function, &out[i]);
    sb_cuda_library_unload(&library);
  }
}
