/* Every operation of the CPU backend at the sizes of SmolLM2-135M: milliseconds, GB/s (bytes an
 * ideal implementation would read and write) against a threaded copy of the same bytes, or GFLOP/s
 * against the machine's GEMM rate, all in one run.
 *
 *   bench_kernels [tokens, default 512] [threads] [f32|bf16] */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/backend.h"

enum { H = 576, MLP = 1536, HEADS = 9, KV = 3, D = 64, CHUNK = 6144 };

typedef struct bench {
  sb_backend *be;
  const sb_backend_ops *op;
  size_t T, heads, kv, d;
  float *x[8];              /* T * CHUNK floats each */
  float *w, *stats, *table; /* weights of a norm, per-row figures, an embedding chunk */
  uint32_t *ids, *best;
  double *kl;
  size_t copied; /* bytes a copy of the current operation reads and writes */
} bench;

typedef sb_status (*operation)(bench *);

static sb_status do_copy(bench *b) {
  return b->op->copy(b->be, NULL, b->x[7], b->x[6], b->copied / 2);
}
static sb_status do_gemm(bench *b) {
  return b->op->gemm(b->be, NULL,
                     &(sb_gemm_args){.m = b->T,
                                     .n = MLP,
                                     .k = H,
                                     .a = sb_view(b->x[0], SB_F32, H),
                                     .b = sb_view_transposed(b->x[1], SB_F32, H),
                                     .c = b->x[2],
                                     .c_dtype = SB_F32,
                                     .ldc = MLP});
}
static sb_status do_rmsnorm(bench *b) {
  return b->op->rmsnorm(b->be, NULL, b->x[1], b->stats, b->x[0], b->w, b->T, H, 1e-5f);
}
static sb_status do_rmsnorm_back(bench *b) {
  return b->op->rmsnorm_back(b->be, NULL, b->x[2], b->w + H, b->x[1], b->x[0], b->w, b->stats, b->T,
                             H);
}
static sb_status do_rope(bench *b) {
  return b->op->rope(b->be, NULL, b->x[2], b->x[3], b->T, HEADS, D, false);
}
static sb_status do_attention(bench *b) {
  return b->op->attention(b->be, NULL,
                          &(sb_attention_args){.q = b->x[0],
                                               .k = b->x[1],
                                               .v = b->x[2],
                                               .o = b->x[3],
                                               .lse = b->stats,
                                               .T = b->T,
                                               .heads = b->heads,
                                               .kv_heads = b->kv,
                                               .d = b->d});
}
static sb_status do_attention_back(bench *b) {
  return b->op->attention_back(b->be, NULL,
                               &(sb_attention_args){.q = b->x[0],
                                                    .k = b->x[1],
                                                    .v = b->x[2],
                                                    .o = b->x[3],
                                                    .lse = b->stats,
                                                    .T = b->T,
                                                    .heads = b->heads,
                                                    .kv_heads = b->kv,
                                                    .d = b->d},
                               b->x[4], b->x[5], b->x[6], b->x[7]);
}
static sb_status do_swiglu(bench *b) {
  return b->op->swiglu(b->be, NULL, b->x[2], b->x[0], b->x[1], b->T * MLP);
}
static sb_status do_swiglu_back(bench *b) {
  return b->op->swiglu_back(b->be, NULL, b->x[3], b->x[4], b->x[5], b->x[2], b->x[0], b->x[1],
                            b->T * MLP);
}
static sb_status do_add(bench *b) {
  return b->op->add(b->be, NULL, b->x[2], b->x[0], b->T * H);
}
static sb_status do_convert(bench *b) {
  return b->op->convert(b->be, NULL, b->x[2], SB_BF16, b->x[0], SB_F32, b->T * H);
}
static sb_status do_embed(bench *b) {
  return b->op->embed(b->be, NULL, b->x[2], b->ids, b->table, SB_F32, b->T, H, 0, CHUNK);
}
static sb_status do_embed_back(bench *b) {
  return b->op->embed_back(b->be, NULL, b->table, b->ids, b->x[0], b->T, H, 0, CHUNK);
}
static sb_status do_xent(bench *b) {
  for (size_t t = 0; t < b->T; t++) b->stats[t] = -INFINITY, b->stats[b->T + t] = 0.0f;
  return b->op->xent_chunk(b->be, NULL, b->stats, b->stats + b->T, b->stats + 2 * b->T, b->best,
                           b->x[0], b->ids, b->T, 0, CHUNK);
}
static sb_status do_xent_back(bench *b) {
  return b->op->xent_back_chunk(b->be, NULL, b->x[5], b->stats, b->ids, 1.0f, b->T, 0, CHUNK);
}
static sb_status do_kl(bench *b) {
  return b->op->kl_chunk(b->be, NULL, b->kl, b->x[0], b->stats, b->x[1], b->stats, b->T, CHUNK);
}

/* Seconds of the fastest of the calls that fit in about 0.15 s, at least three after
 * one to warm up. */
static double best_time(bench *b, operation run) {
  double best = 1e30, spent = 0.0;
  for (int call = 0; call < 4 || (spent < 0.15 && call < 300); call++) {
    double start = sb_now();
    if (run(b) != SB_OK) {
      fprintf(stderr, "%s\n", sb_message());
      exit(1);
    }
    double took = sb_now() - start;
    spent += took;
    if (call > 0 && took < best) best = took;
  }
  return best;
}

static void stream_line(bench *b, const char *name, operation run, double floats) {
  double took = best_time(b, run);
  b->copied = (size_t)(floats * 4.0) / 8 * 8;
  double copy = best_time(b, do_copy);
  printf("%-28s %9.3f ms %8.1f GB/s  %5.2f of a copy\n", name, 1e3 * took, 4e-9 * floats / took,
         copy / took);
}

static void attention_lines(bench *b, double peak, size_t T, size_t heads, size_t kv, size_t d) {
  size_t before = b->T;
  b->T = T, b->heads = heads, b->kv = kv, b->d = d;
  /* Two products forward and five backward, over pairs of tokens up to the diagonal. */
  double product = (double)heads * (double)d * (double)T * (double)(T + 1);
  char name[64];
  for (int back = 0; back < 2; back++) {
    double took = best_time(b, back ? do_attention_back : do_attention);
    double rate = 1e-9 * product * (back ? 5.0 : 2.0) / took;
    snprintf(name, sizeof name, "attention%s %zu x %zu/%zu x %zu", back ? "_back" : "", T, heads,
             kv, d);
    printf("%-28s %9.3f ms %8.1f GFLOP/s  %5.2f of GEMM\n", name, 1e3 * took, rate, rate / peak);
  }
  b->T = before;
}

static bool prepare(bench *b, size_t most) {
  for (int i = 0; i < 8; i++) {
    if (b->op->alloc(b->be, most * 4, "bench", (void **)&b->x[i]) != SB_OK) return false;
    for (size_t j = 0; j < most; j++)
      b->x[i][j] = (float)((j + 1) * (2654435761u + 64u * (unsigned)i) % 4096u) * 0x1p-11f - 1.0f;
  }
  size_t rows = sb_max_size(b->T, 2048) * 64;
  if (sb_alloc(&b->w, 2 * H, 4, "bench") || sb_alloc(&b->stats, rows, 4, "bench") ||
      sb_alloc(&b->table, CHUNK * H, 4, "bench") || sb_alloc(&b->ids, b->T, 4, "bench") ||
      sb_alloc(&b->best, b->T, 4, "bench") || sb_alloc(&b->kl, b->T, 8, "bench"))
    return false;
  for (size_t i = 0; i < 2 * H; i++) b->w[i] = 1.0f;
  for (size_t t = 0; t < b->T; t++) b->ids[t] = (uint32_t)(t * 7919u % CHUNK);
  return true;
}

int main(int argc, char **argv) {
  bench b = {.T = argc > 1 ? (size_t)atol(argv[1]) : 512, .heads = HEADS, .kv = KV, .d = D};
  if (argc > 2) omp_set_num_threads(atoi(argv[2]));
  sb_compute compute = argc > 3 && strcmp(argv[3], "bf16") == 0 ? SB_COMPUTE_BF16 : SB_COMPUTE_F32;
  if (b.T == 0 || sb_backend_cpu_create(compute, 0, &b.be) != SB_OK) {
    fprintf(stderr, "bench_kernels [tokens] [threads] [f32|bf16]: %s\n", sb_message());
    return 2;
  }
  b.op = b.be->op;
  size_t most = sb_max_size(b.T * CHUNK, 2048u * 32u * 128u);
  if (!prepare(&b, most)) {
    fprintf(stderr, "%s\n", sb_message());
    return 1;
  }
  double T = (double)b.T, h = T * H, mlp = T * MLP, logits = T * CHUNK;
  double took = best_time(&b, do_gemm), peak = 2e-9 * mlp * H / took;
  printf("%zu tokens, %d threads\n", b.T, omp_get_max_threads());
  printf("%-28s %9.3f ms %8.1f GFLOP/s\n", "gemm gate", 1e3 * took, peak);
  attention_lines(&b, peak, b.T, HEADS, KV, D);
  attention_lines(&b, peak, 2048, HEADS, KV, D);
  attention_lines(&b, peak, 512, 8, 2, 128);
  attention_lines(&b, peak, 2048, 8, 2, 128);
  stream_line(&b, "rmsnorm", do_rmsnorm, 2 * h);
  stream_line(&b, "rmsnorm_back", do_rmsnorm_back, 4 * h);
  stream_line(&b, "rope (q)", do_rope, 2 * h + T * D);
  stream_line(&b, "swiglu", do_swiglu, 3 * mlp);
  stream_line(&b, "swiglu_back", do_swiglu_back, 6 * mlp);
  stream_line(&b, "add", do_add, 3 * h);
  stream_line(&b, "convert f32 to bf16", do_convert, 1.5 * h);
  stream_line(&b, "embed", do_embed, 2 * h);
  stream_line(&b, "embed_back", do_embed_back, 3 * h);
  stream_line(&b, "xent_chunk", do_xent, logits);
  stream_line(&b, "xent_back_chunk", do_xent_back, 2 * logits);
  stream_line(&b, "kl_chunk", do_kl, 2 * logits);
  for (int i = 0; i < 8; i++) b.op->free(b.be, b.x[i]);
  sb_free(&b.w), sb_free(&b.stats), sb_free(&b.table), sb_free(&b.ids), sb_free(&b.best),
      sb_free(&b.kl);
  b.op->destroy(b.be);
  return 0;
}
