#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "kernels/cpu/cpu_gemm_bf16.h"
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

/* What the kernel thinks can be had without swapping; free pages alone where it does not say. */
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

static void destroy(sb_backend *backend) {
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
    .alloc = sb_cpu_alloc,
    .free = sb_cpu_free,
    .host_alloc = sb_cpu_alloc,
    .host_free = sb_cpu_free,
    .host_pin = sb_cpu_host_pin,
    .host_unpin = sb_cpu_host_unpin,
    .upload = sb_cpu_upload,
    .download = sb_cpu_download,
    .copy = sb_cpu_copy,
    .zero = sb_cpu_zero,
    .stream_create = sb_cpu_stream_create,
    .stream_destroy = sb_cpu_stream_destroy,
    .stream_wait = sb_cpu_stream_wait,
    .sync = sb_cpu_sync,
    .destroy = destroy,
    .peers_token = sb_cpu_peers_token,
    .peers_join = sb_cpu_peers_join,
    .upload_shared = sb_cpu_upload,
    .sum_i64 = sb_cpu_sum_i64,
    .convert = sb_cpu_convert,
    .gather_matrix = sb_cpu_gather_matrix,
    .gemm = sb_cpu_gemm,
    .rmsnorm = sb_cpu_rmsnorm,
    .rmsnorm_back = sb_cpu_rmsnorm_back,
    .rope = sb_cpu_rope,
    .attention = sb_cpu_attention,
    .attention_back = sb_cpu_attention_back,
    .swiglu = sb_cpu_swiglu,
    .swiglu_back = sb_cpu_swiglu_back,
    .add = sb_cpu_add,
    .embed = sb_cpu_embed,
    .embed_back = sb_cpu_embed_back,
    .xent_begin = sb_cpu_xent_begin,
    .xent_chunk = sb_cpu_xent_chunk,
    .xent_end = sb_cpu_xent_end,
    .xent_back_chunk = sb_cpu_xent_back_chunk,
    .kl_chunk = sb_cpu_kl_chunk,
    .kl_end = sb_cpu_kl_end,
    .kl_back_chunk = sb_cpu_kl_back_chunk,
    .fit_blocks = sb_cpu_fit_blocks,
    .quantize_blocks = sb_cpu_quantize_blocks,
    .move_grids = sb_cpu_move_grids,
    .block_moves = sb_cpu_block_moves,
    .channel_scores = sb_cpu_channel_scores,
    .group_products = sb_cpu_group_products,
    .block_squares = sb_cpu_block_squares,
    .choose_grids = sb_cpu_choose_grids,
    .block_curvature = sb_cpu_block_curvature,
    .add_grams = sb_cpu_add_grams,
    .add_squares = sb_cpu_add_squares,
    .add_multiples = sb_cpu_add_multiples,
    .factor_moments = sb_cpu_factor_moments,
    .round_columns = sb_cpu_round_columns,
    .refine_residual = sb_cpu_refine_residual,
    .refine_columns = sb_cpu_refine_columns,
    .unpack_blocks = sb_cpu_unpack_blocks,
    .packed_create = sb_cpu_packed_create,
    .packed_destroy = sb_cpu_packed_destroy,
    .packed_gemm = sb_cpu_packed_gemm,
};

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
  cpu->packed = sb_packed_kernels_best();
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
