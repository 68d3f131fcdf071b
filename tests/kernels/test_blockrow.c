/* Packed block rows: read by hand from the description in
 * kernels/blockrow.h, and by unpack_blocks. */
#include "tests/kernels/blocks.h"
#include "tests/kernels/scale_by_hand.h"
#include "tests/support/grid_kinds.h"

#include "kernels/blockrow.h"

typedef struct data {
  sb_backend *backend;
  sb_tiling tiling;
  sb_code_kind code_kind;
  size_t n, rows, columns; /* weights; block rows and columns */
  float *w, *expected, *out;
  uint8_t *bits, **packed;
  size_t *bytes;
} data;

/* The scales of a block as 6 bits hold them: of the four mantissas the widest that reaches over all
 * powers of two in it, spare ones around them; then the nearest value in the scale's own power of
 * two. */
static void settle(double *scales, size_t rows) {
  int low = 1000, high = -1000, m = 4;
  for (size_t r = 0; r < rows; r++)
    if (scales[r] > 0) {
      low = ilogb(scales[r]) < low ? ilogb(scales[r]) : low;
      high = ilogb(scales[r]) > high ? ilogb(scales[r]) : high;
    }
  if (high == -1000) return;
  while (m > 1 && high - low >= 1 << (6 - m)) m--;
  const int reach = 1 << (6 - m), spare = reach > high - low + 1 ? reach - (high - low + 1) : 0;
  const int e = high + (spare + 1) / 2 - reach + 1;
  const uint8_t anchor = (uint8_t)(4 * ((e < -24 ? -24 : e) + 24) + m - 1);
  for (size_t r = 0; r < rows; r++) {
    double best = 0;
    if (scales[r] == 0) continue;
    for (unsigned c = 1; c < 64; c++) {
      const double value = scale6_by_hand(anchor, c);
      if (ilogb(value) == ilogb(scales[r]) && fabs(value - scales[r]) <= fabs(best - scales[r]))
        best = value;
    }
    if (best == 0) best = scale6_by_hand(anchor, ilogb(scales[r]) <= e ? 1 : 63);
    scales[r] = best;
  }
}

/* Corrects what rounding in place has for scales that a block row keeps in 6 bits. */
static void settle_blocks(data *d) {
  const sb_tiling *t = &d->tiling;
  for (size_t k = 0; k < d->rows * d->columns; k++) {
    const size_t i = k / d->columns, j = k % d->columns, rows = sb_tiling_rows_of(t, i),
                 n = sb_tiling_cols_of(t, j), at = i * t->block_rows * t->cols + j * t->block_cols;
    double scales[128];
    for (size_t r = 0; r < rows; r++)
      scales[r] = (double)scalar_grid(d->w + at + r * t->cols, n, d->bits[k], d->code_kind).scale;
    settle(scales, rows);
    for (size_t r = 0; r < rows; r++) {
      const sb_grid grid = scalar_grid(d->w + at + r * t->cols, n, d->bits[k], d->code_kind);
      for (size_t c = 0; c < n; c++)
        d->expected[at + r * t->cols + c] =
            fmaf(sb_grid_code(&grid, d->w[at + r * t->cols + c]) - grid.center, (float)scales[r],
                 grid.base);
    }
  }
}

static data create(size_t shape, sb_code_kind code_kind) {
  data d = {.tiling = shapes[shape],
            .code_kind = code_kind,
            .n = shapes[shape].rows * shapes[shape].cols};
  d.rows = sb_tiling_block_rows(&d.tiling);
  d.columns = sb_tiling_block_cols(&d.tiling);
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &d.backend));
  assert_ok(sb_alloc(&d.w, d.n, 4, "w"));
  assert_ok(sb_alloc(&d.expected, d.n, 4, "expected"));
  assert_ok(sb_alloc(&d.out, d.n, 4, "out"));
  assert_ok(sb_alloc(&d.bits, d.rows * d.columns, 1, "bits"));
  assert_ok(sb_alloc(&d.packed, d.rows, sizeof *d.packed, "packed"));
  assert_ok(sb_alloc(&d.bytes, d.rows, sizeof *d.bytes, "bytes"));
  fill_awkward(d.w, d.tiling.rows, d.tiling.cols, shape);
  fill_bits(d.bits, d.rows * d.columns, 1, 8, shape);
  scalar_quantize(d.expected, d.w, &d.tiling, d.bits, code_kind);
  if (is_6bit(code_kind)) settle_blocks(&d);
  for (size_t i = 0; i < d.rows; i++) { /* memory of exactly the size, for the address sanitizer */
    d.bytes[i] = sb_blockrow_bytes(&d.tiling, i, d.bits + i * d.columns, code_kind);
    d.packed[i] = malloc(d.bytes[i]);
    assert_non_null(d.packed[i]);
    memset(d.packed[i], 0xff, d.bytes[i]);
    sb_blockrow_encode(d.packed[i], d.w + i * d.tiling.block_rows * d.tiling.cols, SB_F32,
                       &d.tiling, i, d.bits + i * d.columns, code_kind, NULL);
  }
  return d;
}

static void release(data *d) {
  d->backend->op->destroy(d->backend);
  for (size_t i = 0; i < d->rows; i++) free(d->packed[i]);
  sb_free(&d->w);
  sb_free(&d->expected);
  sb_free(&d->out);
  sb_free(&d->bits);
  sb_free(&d->packed);
  sb_free(&d->bytes);
}

/* The format, once more, without the library. Returns the end. */
static const uint8_t *read_by_hand(const data *d, size_t i) {
  const uint8_t *head = d->packed[i], *at = head + head_bytes(d->columns, d->code_kind),
                *end_of_map = head + (d->columns + 15) / 16 * 16;
  const size_t rows = sb_min_size(d->tiling.block_rows, d->tiling.rows - i * d->tiling.block_rows);
  assert_memory_equal(d->packed[i], d->bits + i * d->columns, d->columns);
  for (const uint8_t *pad = head + d->columns; pad < end_of_map; pad++) assert_int_equal(*pad, 0);
  for (const uint8_t *pad = end_of_map + d->columns; pad < at; pad++) assert_int_equal(*pad, 0);
  for (size_t j = 0; j < d->columns; j++) {
    const unsigned b = d->bits[i * d->columns + j];
    const size_t cols =
        sb_min_size(d->tiling.block_cols, d->tiling.cols - j * d->tiling.block_cols);
    const bool asymmetric = d->code_kind == SB_GRID_ASYMMETRIC ||
                            d->code_kind == SB_GRID_ASYMMETRIC_BF16 ||
                            d->code_kind == SB_GRID_ASYMMETRIC_6BIT;
    const bool by_width = d->code_kind == SB_GRID_BY_WIDTH || d->code_kind == SB_GRID_BY_WIDTH_BF16;
    const bool symmetric = d->code_kind == SB_GRID_SYMMETRIC ||
                           d->code_kind == SB_GRID_SYMMETRIC_BF16 ||
                           d->code_kind == SB_GRID_SYMMETRIC_6BIT || (by_width && b <= 2);
    const size_t extra = !asymmetric ? 0 : b == 1 ? 2 * rows : (rows * b + 7) / 8;
    const uint8_t *zeros = at + scale_bytes(rows, d->code_kind), *codes = zeros + extra;
    for (size_t r = 0; r < rows; r++, codes += (cols * b + 7) / 8)
      for (size_t c = 0; c < cols; c++) {
        const double code = bits_at(codes, c, b),
                     scale = scale_by_hand(head, d->columns, j, at, r, d->code_kind),
                     top = ldexp(1, (int)b) - 1;
        const float expected = d->expected[(i * d->tiling.block_rows + r) * d->tiling.cols +
                                           j * d->tiling.block_cols + c];
        double value = (code - (symmetric ? top : top + 1) / 2) * scale;
        if (asymmetric)
          value = b == 1 ? half_at(zeros, r) + (code - 0.5) * scale
                         : (code - bits_at(zeros, r, b)) * scale;
        assert_true((float)value == expected);
      }
    at = codes;
  }
  return at;
}

static void test_by_hand(void **state) {
  (void)state;
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < KIND_TURNS; s++) {
      data d = create(shape, kind_of_turn(shape, s));
      for (size_t i = 0; i < d.rows; i++)
        assert_ptr_equal(read_by_hand(&d, i), d.packed[i] + d.bytes[i]);
      release(&d);
    }
}

/* Grids and codes that are read from a block row make its bytes again, and stand for its weights.
 */
static void test_grids_and_codes(void **state) {
  (void)state;
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < KIND_TURNS; s++) {
      data d = create(shape, kind_of_turn(shape, s));
      const size_t rows = sb_min_size(d.tiling.block_rows, d.tiling.rows), cols = d.tiling.cols;
      sb_grid *grids = malloc(rows * d.columns * sizeof *grids);
      uint8_t *codes = malloc(rows * cols);
      for (size_t i = 0; i < d.rows; i++) {
        const size_t count = sb_tiling_rows_of(&d.tiling, i);
        uint8_t *again = malloc(d.bytes[i]);
        memset(codes, 0xff, rows * cols);
        sb_blockrow_unpack(grids, codes, d.packed[i], &d.tiling, i, d.code_kind);
        sb_blockrow_pack(again, grids, codes, &d.tiling, i, d.bits + i * d.columns, d.code_kind,
                         NULL);
        assert_memory_equal(again, d.packed[i], d.bytes[i]);
        for (size_t r = 0; r < count; r++)
          for (size_t c = 0; c < cols; c++) {
            const sb_grid *grid = &grids[c / d.tiling.block_cols * count + r];
            const double value =
                ((double)codes[r * cols + c] - grid->center) * grid->scale + grid->base;
            assert_true((float)value == d.expected[(i * d.tiling.block_rows + r) * cols + c]);
          }
        free(again);
      }
      free(codes);
      free(grids);
      release(&d);
    }
}

/* Decoding gives the bits of rounding in place, in every type, for any number of threads. */
static void test_unpack(void **state) {
  const sb_dtype types[3] = {SB_F32, SB_BF16, SB_F16};
  (void)state;
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < KIND_TURNS; s++) {
      data d = create(shape, kind_of_turn(shape, s));
      uint8_t *all = NULL, *want = NULL;
      size_t *offsets = NULL, total = 0;
      assert_ok(sb_alloc(&offsets, d.rows, sizeof *offsets, "offsets"));
      for (size_t i = 0; i < d.rows; i++) {
        offsets[i] = total;
        total += d.bytes[i];
      }
      assert_ok(sb_alloc(&all, total, 1, "packed"));
      assert_ok(sb_alloc(&want, d.n, 4, "want"));
      for (size_t i = 0; i < d.rows; i++) memcpy(all + offsets[i], d.packed[i], d.bytes[i]);
      for (int t = 0; t < 3; t++)
        for (int threads = 1; threads <= 4; threads += 3) {
          omp_set_num_threads(threads);
          memset(d.out, 0xff, d.n * 4);
          assert_ok(d.backend->op->unpack_blocks(d.backend, NULL, d.out, types[t], all, offsets,
                                                 &d.tiling, d.bits, d.code_kind, NULL));
          sb_from_f32(want, types[t], d.expected, d.n);
          assert_memory_equal(d.out, want, d.n * sb_dtype_size(types[t]));
        }
      d.bits[0] = d.bits[0] == 8 ? 1 : 8;
      assert_int_equal(d.backend->op->unpack_blocks(d.backend, NULL, d.out, SB_F32, all, offsets,
                                                    &d.tiling, d.bits, d.code_kind, NULL),
                       SB_ERR_INTERNAL);
      sb_free(&all);
      sb_free(&want);
      sb_free(&offsets);
      release(&d);
    }
}

/* Choosing and packing apart give what encoding gives; codes of one's own come out again. */
static void test_two_steps(void **state) {
  (void)state;
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < KIND_TURNS; s++) {
      data d = create(shape, kind_of_turn(shape, s));
      sb_grid *grids = NULL;
      uint8_t *codes = NULL;
      assert_ok(sb_alloc(&grids, d.tiling.block_rows * d.columns, sizeof *grids, "groups"));
      assert_ok(sb_alloc(&codes, d.tiling.block_rows * d.tiling.cols, 1, "codes"));
      for (size_t i = 0; i < d.rows; i++) {
        uint8_t *again = malloc(d.bytes[i]);
        const uint8_t *bits = d.bits + i * d.columns;
        assert_non_null(again);
        sb_blockrow_choose(grids, codes, d.w + i * d.tiling.block_rows * d.tiling.cols, SB_F32,
                           &d.tiling, i, bits, d.code_kind, NULL);
        sb_blockrow_pack(again, grids, codes, &d.tiling, i, bits, d.code_kind, NULL);
        assert_memory_equal(again, d.packed[i], d.bytes[i]);
        for (size_t r = 0; r < sb_tiling_rows_of(&d.tiling, i); r++)
          for (size_t c = 0; c < d.tiling.cols; c++) {
            const unsigned top = (1u << bits[c / d.tiling.block_cols]) - 1;
            codes[r * d.tiling.cols + c] = (uint8_t)(top - codes[r * d.tiling.cols + c]);
          }
        sb_blockrow_pack(again, grids, codes, &d.tiling, i, bits, d.code_kind, NULL);
        sb_blockrow_decode(d.out, SB_F32, again, &d.tiling, i, 0, d.columns, d.code_kind, NULL);
        if (is_6bit(d.code_kind)) /* scales as the block keeps them */
          sb_blockrow_unpack(grids, codes, again, &d.tiling, i, d.code_kind);
        for (size_t r = 0; r < sb_tiling_rows_of(&d.tiling, i); r++)
          for (size_t c = 0; c < d.tiling.cols; c++) {
            const sb_grid *grid =
                &grids[c / d.tiling.block_cols * sb_tiling_rows_of(&d.tiling, i) + r];
            assert_true(d.out[r * d.tiling.cols + c] ==
                        sb_grid_value(grid, (float)codes[r * d.tiling.cols + c]));
          }
        free(again);
      }
      sb_free(&grids);
      sb_free(&codes);
      release(&d);
    }
}

static void test_sizes(void **state) {
  const sb_tiling tiling = {128, 256, 128, 128};
  const uint8_t bits[2] = {3, 1};
  (void)state;
  /* 16 of bit map; 256 of scales, 48 of zeros, 6144 of codes; 256, 256, 2048 */
  assert_int_equal(sb_blockrow_bytes(&tiling, 0, bits, SB_GRID_ASYMMETRIC),
                   16 + 256 + 48 + 6144 + 256 + 256 + 2048);
  assert_int_equal(sb_blockrow_bytes(&tiling, 0, bits, SB_GRID_SYMMETRIC),
                   16 + 256 + 6144 + 256 + 2048);
  assert_int_equal(sb_block_code_bytes(128, 128, 3, SB_GRID_ASYMMETRIC), 6144);
  for (size_t shape = 0; shape < SHAPES; shape++) { /* the parts add up */
    data d = create(shape, SB_GRID_ASYMMETRIC);
    for (size_t i = 0; i < d.rows; i++) {
      sb_block_part *parts = NULL;
      size_t sum = 0, count;
      assert_ok(sb_alloc(&parts, 1 + 3 * d.columns, sizeof *parts, "parts"));
      count = sb_blockrow_parts(parts, &d.tiling, i, d.bits + i * d.columns, d.code_kind);
      assert_true(count <= 1 + 3 * d.columns);
      for (size_t p = 0; p < count; p++) sum += parts[p].bytes;
      assert_int_equal(sum, d.bytes[i]);
      sb_free(&parts);
    }
    release(&d);
  }
}

static void refuse(const data *d, size_t bytes, const char *why) {
  uint8_t bits[64];
  assert_true(d->columns <= sizeof bits);
  assert_int_equal(sb_blockrow_read_bits(bits, d->packed[0], bytes, &d->tiling, 0, d->code_kind),
                   SB_ERR_FORMAT);
  assert_non_null(strstr(sb_message(), why));
}

static void test_refusals(void **state) {
  data d = create(1, SB_GRID_ASYMMETRIC);
  uint8_t bits[64];
  char text[64];
  (void)state;
  assert_ok(sb_blockrow_read_bits(bits, d.packed[0], d.bytes[0], &d.tiling, 0, d.code_kind));
  assert_memory_equal(bits, d.bits, d.columns);
  snprintf(text, sizeof text, "asks for %zu", d.bytes[0]);
  refuse(&d, d.bytes[0] - 1, text);
  refuse(&d, d.bytes[0] + 1, text);
  refuse(&d, 15, "bit map");
  refuse(&d, 0, "bit map");
  d.packed[0][2] = 0;
  refuse(&d, d.bytes[0], "block 2: 0 bits");
  d.packed[0][2] = 9;
  refuse(&d, d.bytes[0], "block 2: 9 bits");
  d.packed[0][2] = 0x13; /* of a trellis */
  refuse(&d, d.bytes[0], "block 2: codes of alphabet 1, expected 0 (grid)");
  d.packed[0][2] = 255;
  refuse(&d, d.bytes[0], "block 2: codes of alphabet 15, expected 0 (grid)");
  release(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_by_hand), cmocka_unit_test(test_grids_and_codes),
      cmocka_unit_test(test_unpack),  cmocka_unit_test(test_two_steps),
      cmocka_unit_test(test_sizes),   cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
