#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "kernels/cpu/cpu_gemm_bf16.h"
#include "kernels/cpu/cpu_gemm_split.h"
#include "kernels/cpu/cpu_packed.h"

int sb_cpu_threads(const sb_backend *backend) {
  const sb_cpu *cpu = backend->impl;
  return cpu->threads > 0 ? cpu->threads : omp_get_max_threads();
}

sb_status sb_cpu_scratch(sb_backend *backend, sb_cpu_slot slot, size_t count, size_t size,
                         void *out_pointer) {
  sb_cpu *cpu = backend->impl;
  void **out = out_pointer;
  size_t bytes;
  if (!sb_mul_size(count, size, &bytes))
    return sb_fail(SB_ERR_MEMORY,
                   "scratch memory of the CPU backend: %zu items of %zu bytes overflow", count,
                   size);
  if (bytes > cpu->scratch[slot].bytes) {
    cpu->scratch[slot].bytes = 0;
    sb_free(&cpu->scratch[slot].data);
    SB_TRY(sb_cpu_alloc(backend, bytes, "scratch memory of the CPU backend",
                        &cpu->scratch[slot].data));
    cpu->scratch[slot].bytes = bytes;
  }
  *out = cpu->scratch[slot].data;
  return SB_OK;
}

/* Memory available without swapping, as estimated by the system; without estimate, free pages. */
static size_t available_memory(void) {
  FILE *file = fopen("/proc/meminfo", "r");
  char line[128];
  size_t kib = 0;
  while (file && kib == 0 && fgets(line, sizeof line, file))
    (void)sscanf(line, "MemAvailable: %zu kB", &kib);
  if (file) fclose(file);
  if (kib > 0) return kib * 1024u;
  long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
}

void sb_cpu_destroy(sb_backend *backend) {
  if (!backend) return;
  sb_cpu *cpu = backend->impl;
  if (cpu) {
    for (int slot = 0; slot < SB_CPU_SLOT_COUNT; slot++) sb_free(&cpu->scratch[slot].data);
    sb_cpu_bf16_free(cpu->bf16);
  }
  sb_free(&cpu);
  sb_free(&backend);
}

static const sb_backend_ops operations = {
#define SB_CPU_ENTRY(name) .name = sb_cpu_##name,
    SB_OPS(SB_CPU_ENTRY)
#undef SB_CPU_ENTRY
};

bool sb_backend_can_split_f32(const sb_backend *backend) {
  return backend->op == &operations && backend->operand == SB_F32 && sb_cpu_split_able();
}

sb_status sb_backend_cpu_create(sb_compute compute, int threads, sb_backend **out) {
  sb_backend *backend = NULL;
  sb_cpu *cpu = NULL;
  sb_status status = SB_OK;
  *out = NULL;
  if (threads < 0)
    return sb_fail(SB_ERR_USAGE, "--threads %d: give a positive number, or 0 for OpenMP's own",
                   threads);
  SB_TRY(sb_alloc(&backend, 1, sizeof *backend, "CPU backend"));
  SB_GO(sb_alloc(&cpu, 1, sizeof *cpu, "CPU backend"));
  cpu->compute = compute;
  cpu->threads = threads;
  cpu->packed = sb_packed_kernels_at(sb_cpu_best());
  backend->name = "cpu";
  backend->act = SB_F32;
  backend->operand = compute == SB_COMPUTE_BF16 ? SB_BF16 : SB_F32;
  backend->unified = backend->in_mpi = true;
  backend->free_bytes = available_memory();
  backend->op = &operations;
  backend->impl = cpu;
  if (compute == SB_COMPUTE_BF16) SB_GO(sb_cpu_bf16_create(&cpu->bf16));
  *out = backend;
  return SB_OK;
done:
  sb_free(&cpu);
  sb_free(&backend);
  return status;
}
