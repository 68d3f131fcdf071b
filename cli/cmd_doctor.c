/* shardbits doctor: what this build, this machine and this MPI library have, and whether the device
 * that --device asks for computes. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "kernels/device_report.h"
#include "mpi/gpu_memory.h"

/* ---- the processor, memory, MPI ---- */

static void processor_name(char *out, size_t size) {
  char line[256];
  FILE *file = fopen("/proc/cpuinfo", "re");
  snprintf(out, size, "unknown");
  while (file && fgets(line, sizeof line, file)) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || !colon) continue;
    snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    break;
  }
  if (file) fclose(file);
}

static const char *vectors(void) {
  return __builtin_cpu_supports("avx512bf16") ? "AVX-512, bf16"
         : __builtin_cpu_supports("avx512f")  ? "AVX-512"
         : __builtin_cpu_supports("avx2")     ? "AVX2"
                                              : "no AVX2";
}

static sb_status print_host(const sb_world *world, const sb_common *common, FILE *out,
                            json_t *report) {
  char name[256], version[MPI_MAX_LIBRARY_VERSION_STRING], text[SB_TEXT_SIZE];
  int length;
  const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
  const bool aware = sb_mpi_takes_gpu_memory(world) == SB_OK;
  processor_name(name, sizeof name);
  SB_MPI(MPI_Get_library_version(version, &length));
  version[strcspn(version, ",\n")] = '\0';
  sb_table_row(out, "processor", "%s, %s, %d threads a rank", name, vectors(), common->threads);
  sb_table_row(out, "memory", "%s", sb_text_bytes(text, sizeof text, memory));
  sb_table_row(out, "MPI", "%s, %d rank%s on %d node%s, %s GPU memory", version, world->size,
               world->size == 1 ? "" : "s", world->nodes, world->nodes == 1 ? "" : "s",
               aware ? "takes" : "does not take");
  sb_report_text(report, "processor", name);
  sb_report_text(report, "vectors", vectors());
  sb_report_count(report, "threads", (uint64_t)common->threads);
  sb_report_real(report, "memory_bytes", memory);
  sb_report_text(report, "mpi", version);
  sb_report_flag(report, "mpi_takes_gpu_memory", aware);
  return SB_OK;
}

/* ---- CUDA ---- */

static const char *cuda_version(char text[16], int version) {
  snprintf(text, 16, "%d.%d", version / 1000, version % 1000 / 10);
  return version ? text : "none";
}

static void print_libraries(const sb_device_report *cuda, FILE *out, json_t *report) {
  json_t *list = json_array();
  for (int i = 0; i < SB_REPORT_LIBRARIES; i++) {
    const sb_library_report *l = &cuda->library[i];
    if (!l->name) continue;
    sb_table_row(out, l->name, "%s%s%s", l->trouble[0] ? l->trouble : l->version,
                 l->trouble[0] ? "" : ", ", l->path);
    json_t *entry = json_object();
    sb_report_text(entry, "name", l->name);
    sb_report_text(entry, "version", l->version);
    sb_report_text(entry, "path", l->path);
    sb_report_text(entry, "trouble", l->trouble);
    json_array_append_new(list, entry);
  }
  if (report) json_object_set(report, "libraries", list);
  json_decref(list);
}

static void print_gpus(const sb_device_report *cuda, FILE *out, json_t *report) {
  char label[32], text[SB_TEXT_SIZE];
  json_t *list = json_array();
  for (int i = 0; i < cuda->gpus && i < SB_REPORT_GPUS; i++) {
    const sb_gpu_report *g = &cuda->gpu[i];
    snprintf(label, sizeof label, "GPU %d", i);
    sb_table_row(out, label, "%s, compute capability %d.%d, %d multiprocessors, %s, %s", g->name,
                 g->major, g->minor, g->multiprocessors,
                 sb_text_bytes(text, sizeof text, (double)g->memory_bytes), g->uuid);
    json_t *entry = json_object();
    sb_report_text(entry, "name", g->name);
    sb_report_text(entry, "uuid", g->uuid);
    sb_report_real(entry, "compute_capability", g->major + g->minor / 10.0);
    sb_report_count(entry, "multiprocessors", (uint64_t)g->multiprocessors);
    sb_report_count(entry, "memory_bytes", g->memory_bytes);
    json_array_append_new(list, entry);
  }
  if (report) json_object_set(report, "gpus", list);
  json_decref(list);
}

static void print_cuda(FILE *out, json_t *report) {
  sb_device_report cuda;
  char driver[16], runtime[16];
  sb_device_report_make(&cuda);
  if (cuda.built)
    sb_table_row(out, "CUDA", "driver %s, this build %s, %d GPU%s%s%s",
                 cuda_version(driver, cuda.driver), cuda_version(runtime, cuda.runtime), cuda.gpus,
                 cuda.gpus == 1 ? "" : "s", cuda.trouble[0] ? ": " : "", cuda.trouble);
  else
    sb_table_row(out, "CUDA", "%s", cuda.trouble);
  sb_report_flag(report, "cuda_built", cuda.built);
  sb_report_count(report, "cuda_driver", (uint64_t)cuda.driver);
  sb_report_count(report, "cuda_runtime", (uint64_t)cuda.runtime);
  sb_report_text(report, "cuda_trouble", cuda.trouble);
  print_gpus(&cuda, out, report);
  print_libraries(&cuda, out, report);
}

/* ---- a product, on the device that the other commands would take ---- */

enum { SIDE = 256 };

/* c = a b' of small whole numbers, which every arithmetic gets right. Local. */
static sb_status multiply(sb_backend *b, double *seconds) {
  enum { COUNT = SIDE * SIDE };
  static const char what[] = "a first product";
  void *dev[4] = {NULL};
  float *host = NULL;
  const sb_dtype types[4] = {SB_F32, b->operand, b->operand, SB_F32};
  sb_status status = sb_alloc(&host, COUNT, sizeof *host, what);
  for (int i = 0; i < 4; i++) SB_THEN(b->op->alloc(b, COUNT * sizeof *host, what, &dev[i]));
  if (status != SB_OK) goto done;
  const double start = sb_now();
  for (int i = 1; i < 3; i++) {
    for (size_t k = 0; k < COUNT; k++)
      host[k] = (float)((k / SIDE * (size_t)i + k % SIDE) % 3) - 1.0f;
    SB_GO(b->op->upload(b, NULL, dev[0], host, COUNT * sizeof *host));
    SB_GO(b->op->convert(b, NULL, dev[i], types[i], dev[0], SB_F32, COUNT));
    SB_GO(b->op->sync(b, NULL));
  }
  SB_GO(b->op->gemm(b, NULL,
                    &(sb_gemm_args){.m = SIDE,
                                    .n = SIDE,
                                    .k = SIDE,
                                    .a = sb_view(dev[1], types[1], SIDE),
                                    .b = sb_view_transposed(dev[2], types[2], SIDE),
                                    .c = dev[3],
                                    .c_dtype = SB_F32,
                                    .ldc = SIDE}));
  SB_GO(b->op->download(b, NULL, host, dev[3], COUNT * sizeof *host));
  SB_GO(b->op->sync(b, NULL));
  *seconds = sb_now() - start;
  for (size_t r = 0; r < SIDE; r++)
    for (size_t c = 0; c < SIDE; c++) {
      int expected = 0;
      for (size_t k = 0; k < SIDE; k++)
        expected += ((int)((r + k) % 3) - 1) * ((int)((2 * c + k) % 3) - 1);
      if (host[r * SIDE + c] != (float)expected)
        SB_GO(sb_fail(SB_ERR_DEVICE, "%s is wrong: %g at %zu, %zu where %d is right", what,
                      (double)host[r * SIDE + c], r, c, expected));
    }
done:
  for (int i = 0; i < 4; i++) b->op->free(b, dev[i]);
  sb_free(&host);
  return status;
}

static sb_status doctor(const sb_world *world, const sb_common *common) {
  FILE *out = sb_common_prints(world, common) ? stdout : NULL;
  json_t *report = sb_report_begin(world, "doctor");
  sb_backend *backend = NULL;
  double seconds = 0;
  sb_status status;
  if (out) sb_text_print(out, "shardbits %s", SB_VERSION);
  SB_GO(print_host(world, common, out, report));
  if (world->rank == 0) print_cuda(out, report);
  if (out) fflush(out);
  SB_GO(sb_common_backend(world, common, &backend));
  SB_GO(sb_world_agree(world, multiply(backend, &seconds)));
  sb_table_row(out, "first product", "right on all ranks, by %s, in %.3f s", backend->name,
               seconds);
  sb_report_text(report, "backend", backend->name);
  sb_report_real(report, "first_product_seconds", seconds);
  status = sb_report_write(world, common->json, report);
done:
  if (backend) backend->op->destroy(backend);
  json_decref(report);
  return status;
}

sb_status sb_cmd_doctor(const sb_world *world, int argc, char **argv) {
  sb_common common = SB_COMMON_DEFAULTS;
  sb_usage usage = {
      .command = "doctor",
      .synopsis = "[options]",
      .purpose = "Says what this build, this machine and this MPI library have: processor, memory, "
                 "driver, GPUs, and\nthe libraries of CUDA with their versions and files. Then "
                 "every rank takes the device that the other\ncommands would take, and multiplies "
                 "two small matrices. Fails where a GPU is there and does not do.",
      .examples = "  shardbits doctor\n"
                  "  srun --mpi=pmix -N 2 --ntasks-per-node 4 shardbits doctor --device cuda"};
  bool help;
  SB_TRY(sb_common_begin(world, &usage, &common, SB_COMMON_DEVICE | SB_COMMON_COMPUTE, argc, argv,
                         &help));
  if (help) return SB_OK;
  return doctor(world, &common);
}
