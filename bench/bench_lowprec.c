/* Rounding of every operand to every low precision: ms, and the time as a multiple of a threaded
 * copy of the same bytes (f32 in; f32 or bf16 out), in the same run. The limit is 1 where the data
 * are in memory; scales and random bits are computed in its shadow.
 *
 *   bench_lowprec [rows, default 2048] [cols, default 4096] [threads] [f32|bf16: what is written]
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/backend.h"

enum { ROUNDS = 7 };

typedef struct bench {
  sb_backend *be;
  size_t rows, cols;
  float *from, *to;
  sb_dtype written;
} bench;

static double best_of(sb_status (*run)(const bench *, const sb_lowprec_rule *), const bench *b,
                      const sb_lowprec_rule *rule) {
  double best = 1e9;
  for (int i = 0; i < ROUNDS; i++) {
    const double start = sb_now();
    if (run(b, rule) != SB_OK) {
      fprintf(stderr, "bench_lowprec: %s\n", sb_message());
      exit(1);
    }
    const double seconds = sb_now() - start;
    best = seconds < best ? seconds : best;
  }
  return best;
}

static sb_status copy(const bench *b, const sb_lowprec_rule *rule) {
  (void)rule;
  const size_t moved = sizeof(float) + sb_dtype_size(b->written); /* read and written, per number */
  return b->be->op->copy(b->be, NULL, b->to, b->from, b->rows * b->cols * moved / 2);
}

static sb_status code(const bench *b, const sb_lowprec_rule *rule) {
  return b->be->op->round_lowprec(b->be, NULL,
                                  &(sb_lowprec_args){.rule = *rule,
                                                     .rows = b->rows,
                                                     .cols = b->cols,
                                                     .src = b->from,
                                                     .src_dtype = SB_F32,
                                                     .dst = b->to,
                                                     .dst_dtype = b->written,
                                                     .key = 1});
}

int main(int argc, char **argv) {
  static const char operands[][3] = {"X", "W", "dY"};
  bench b = {.rows = argc > 1 ? (size_t)atoll(argv[1]) : 2048,
             .cols = argc > 2 ? (size_t)atoll(argv[2]) : 4096};
  const int threads = argc > 3 ? atoi(argv[3]) : 0;
  const size_t count = b.rows * b.cols;
  b.written = argc > 4 && strcmp(argv[4], "bf16") == 0 ? SB_BF16 : SB_F32;
  const sb_lowprec_options options = sb_lowprec_options_default();
  if (sb_backend_cpu_create(SB_COMPUTE_F32, threads, &b.be) != SB_OK ||
      sb_alloc(&b.from, count, sizeof *b.from, "input") != SB_OK ||
      sb_alloc(&b.to, count, sizeof *b.to, "output") != SB_OK) {
    fprintf(stderr, "bench_lowprec: %s\n", sb_message());
    return 1;
  }
  for (size_t i = 0; i < count; i++) b.from[i] = (float)(i * 2654435761u % 65536) / 32768.0f - 1.0f;
  const double plain = best_of(copy, &b, NULL);
  printf("%zu x %zu F32 to %s, %d threads: a copy takes %.3f ms, %.1f GB/s\n", b.rows, b.cols,
         sb_dtype_name(b.written), threads ? threads : omp_get_max_threads(), plain * 1e3,
         1e-9 * (double)(count * (sizeof(float) + sb_dtype_size(b.written))) / plain);
  printf("%-12s%10s%10s%10s\n", "", "ms", "copies", "ns/el");
  for (int p = 1; p < SB_PRECISION_COUNT; p++)
    for (int gemm = SB_FPROP; gemm < SB_GEMM_KINDS; gemm++)
      for (int operand = 0; operand < SB_LOWPREC_OPERANDS; operand++) {
        if ((gemm == SB_FPROP && operand == SB_LOWPREC_DY) ||
            (gemm == SB_DGRAD && operand == SB_LOWPREC_X) ||
            (gemm == SB_WGRAD && operand == SB_LOWPREC_W))
          continue;
        const sb_lowprec_rule rule = sb_lowprec_rule_of(
            (sb_precision)p, (sb_lowprec_operand)operand, (sb_gemm_kind)gemm, &options);
        const double seconds = best_of(code, &b, &rule);
        printf("%-12s%6s %-4s%s%8.3f%8.2f%8.3f\n", sb_precision_names[p], sb_gemm_kind_names[gemm],
               operands[operand], rule.stochastic ? "*" : " ", seconds * 1e3, seconds / plain,
               seconds * 1e9 / (double)count);
      }
  printf("* rounded stochastically\n");
  sb_free(&b.from);
  sb_free(&b.to);
  b.be->op->destroy(b.be);
  return 0;
}
