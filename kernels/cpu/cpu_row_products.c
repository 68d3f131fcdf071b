#include "kernels/cpu/cpu.h"
#include "kernels/cpu/lanes.h"

/* Adds the products of up to 16 columns from `at` on (an element), columns from `col`. */
static inline void add(const sb_row_products_args *a, size_t at, size_t col, lanes_mask m,
                       lanes_total sums[SB_ROW_PAIRS]) {
  lanes terms[SB_ROW_TERMS];
  for (size_t i = 0; i < a->term_count; i++) {
    const lanes plus = lanes_load(a->terms[i].plus + at, m);
    const float *minus = a->terms[i].minus;
    terms[i] = minus ? lanes_sub(plus, lanes_load(minus + at, m)) : plus;
  }
  const lanes weight = a->weight ? lanes_load(a->weight + col, m) : lanes_set(1.0f);
  for (size_t p = 0; p < a->pair_count; p++) {
    const lanes product = lanes_mul(terms[a->pairs[p][0]], terms[a->pairs[p][1]]);
    lanes_add_to(&sums[p], a->weight ? lanes_mul(product, weight) : product);
  }
}

sb_status sb_cpu_row_products(sb_backend *backend, sb_stream stream,
                              const sb_row_products_args *args) {
  const size_t cols = args->cols, whole = cols / LANES * LANES;
  (void)stream;
#pragma omp parallel for num_threads(sb_cpu_threads(backend))                                      \
    schedule(static) if (args->rows * cols > 8192)
  for (size_t r = 0; r < args->rows; r++) {
    lanes_total sums[SB_ROW_PAIRS];
    memset(sums, 0, sizeof sums);
    for (size_t c = 0; c < whole; c += LANES) add(args, r * cols + c, c, lanes_first(LANES), sums);
    if (whole < cols) add(args, r * cols + whole, whole, lanes_first(cols - whole), sums);
    for (size_t p = 0; p < args->pair_count; p++)
      args->out[p * args->rows + r] = lanes_total_sum(&sums[p]);
  }
  return SB_OK;
}
