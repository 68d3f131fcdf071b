/* Each form of a matrix against a naive product in double precision: with and without an order of
 * rows and columns, into new memory and added to what it holds. */
#include <string.h>

#include "base/memory.h"
#include "kernels/blockrow.h"
#include "pass/product.h"
#include "tests/kernels/check.h"

enum { T = 7, ROWS = 45, COLS = 70, BLOCK = 16, BLOCKS = 3 * 5, WIDEST = 70 };

static const sb_tiling tiling = {ROWS, COLS, BLOCK, BLOCK};

/* A matrix in natural order, held in one form. `row` and `col`: natural index
 * of each stored position. */
typedef struct fixture {
  sb_backend *backend;
  sb_product_scope scope;
  sb_product product;
  double w[ROWS * COLS]; /* natural order */
  uint32_t row[ROWS], col[COLS], position[ROWS];
  float *input_room, *output_room;
  float *weights;
  uint8_t *packed;
} fixture;

/* A permutation of n without a fixed point for strides above 1; the identity for 1. */
static void permute(uint32_t *from, uint32_t n, uint32_t stride) {
  for (uint32_t i = 0; i < n; i++) from[i] = stride == 1 ? i : (i * stride + 3) % n;
}

static void set_up(fixture *f, bool ordered) {
  memset(f, 0, sizeof *f);
  f->backend = check_backend(SB_COMPUTE_F32);
  permute(f->row, ROWS, ordered ? 7 : 1);
  permute(f->col, COLS, ordered ? 11 : 1);
  for (uint32_t i = 0; i < ROWS; i++) f->position[f->row[i]] = i;
  f->input_room = check_zeros(T * WIDEST);
  f->output_room = check_zeros(T * WIDEST);
  f->scope = (sb_product_scope){.backend = f->backend,
                                .T = T,
                                .input_room_dev = f->input_room,
                                .output_room_dev = f->output_room};
  f->product = (sb_product){.rows = ROWS, .cols = COLS};
  if (!ordered) return;
  f->product.row_order_dev = f->row;
  f->product.col_order_dev = f->col;
  f->product.row_position_dev = f->position;
}

static void make_dense(fixture *f) {
  f->weights = check_random(ROWS * COLS, 1.0f, 11);
  for (size_t i = 0; i < ROWS * COLS; i++) f->w[i] = (double)f->weights[i];
  f->product.form = &sb_product_dense;
  f->product.dense_dev = f->weights;
}

/* Codes of several widths of a matrix in the stored order; w is what they decode to. */
static void make_packed(fixture *f) {
  static const uint8_t widths[] = {8, 3, 5, 4, 2};
  const float *stored = check_random(ROWS * COLS, 1.0f, 12);
  sb_backend *b = f->backend;
  float *decoded = check_zeros(ROWS * COLS);
  uint8_t bits[BLOCKS];
  size_t offsets[3], bytes = 0;
  for (size_t k = 0; k < BLOCKS; k++) bits[k] = widths[k * 2 % sizeof widths];
  for (size_t i = 0; i < 3; i++) {
    offsets[i] = bytes;
    bytes += sb_blockrow_bytes(&tiling, i, bits + i * 5, SB_GRID_ASYMMETRIC);
  }
  f->packed = (uint8_t *)check_zeros(bytes);
  for (size_t i = 0; i < 3; i++)
    sb_blockrow_encode(f->packed + offsets[i], stored + i * BLOCK * COLS, SB_F32, &tiling, i,
                       bits + i * 5, SB_GRID_ASYMMETRIC, NULL);
  assert_ok(b->op->unpack_blocks(b, NULL, decoded, SB_F32, f->packed, offsets, &tiling, bits,
                                 SB_GRID_ASYMMETRIC, NULL));
  for (size_t i = 0; i < ROWS; i++)
    for (size_t j = 0; j < COLS; j++)
      f->w[f->row[i] * COLS + f->col[j]] = (double)decoded[i * COLS + j];
  f->product.form = &sb_product_packed;
  assert_ok(b->op->packed_create(b, NULL, f->packed, offsets, &tiling, bits, SB_GRID_ASYMMETRIC,
                                 NULL, &f->product.packed));
}

static void tear_down(fixture *f) {
  f->backend->op->packed_destroy(f->backend, f->product.packed);
  f->backend->op->destroy(f->backend);
  check_done();
}

/* want[T, rows] = x W' (+ before) */
static void check_forward(fixture *f, bool add) {
  const float *x = check_random(T * COLS, 1.0f, 1), *before = check_random(T * ROWS, 1.0f, 2);
  float *y = check_zeros(T * ROWS);
  double *want = check_double_zeros(T * ROWS);
  for (size_t t = 0; t < T; t++)
    for (size_t i = 0; i < ROWS; i++) {
      double sum = add ? (double)before[t * ROWS + i] : 0.0;
      for (size_t j = 0; j < COLS; j++) sum += (double)x[t * COLS + j] * f->w[i * COLS + j];
      want[t * ROWS + i] = sum;
    }
  memcpy(y, before, T * ROWS * sizeof *y);
  assert_ok(sb_product_forward(&f->scope, &f->product, y, x, add));
  check_close("forward", y, want, T * ROWS, 1e-5, 1.0);
}

/* want[T, cols] = dy W (+ before) */
static void check_input_gradient(fixture *f, bool add) {
  const float *dy = check_random(T * ROWS, 1.0f, 3), *before = check_random(T * COLS, 1.0f, 4);
  float *dx = check_zeros(T * COLS);
  double *want = check_double_zeros(T * COLS);
  for (size_t t = 0; t < T; t++)
    for (size_t j = 0; j < COLS; j++) {
      double sum = add ? (double)before[t * COLS + j] : 0.0;
      for (size_t i = 0; i < ROWS; i++) sum += (double)dy[t * ROWS + i] * f->w[i * COLS + j];
      want[t * COLS + j] = sum;
    }
  memcpy(dx, before, T * COLS * sizeof *dx);
  assert_ok(sb_product_input_gradient(&f->scope, &f->product, dx, dy, add));
  check_close("input gradient", dx, want, T * COLS, 1e-5, 1.0);
}

/* want[rows, cols] = dy' x in the stored order, and the arranged factors themselves. */
static void check_weight_gradient(fixture *f) {
  const float *dy = check_random(T * ROWS, 1.0f, 5), *x = check_random(T * COLS, 1.0f, 6);
  const void *dy_stored = dy, *x_stored = x;
  float *g = check_random(ROWS * COLS, 1.0f, 7); /* is overwritten */
  double *want = check_double_zeros(ROWS * COLS);
  for (size_t i = 0; i < ROWS; i++)
    for (size_t j = 0; j < COLS; j++)
      for (size_t t = 0; t < T; t++)
        want[i * COLS + j] += (double)dy[t * ROWS + f->row[i]] * (double)x[t * COLS + f->col[j]];
  assert_ok(sb_product_arrange(&f->scope, &f->product, &dy_stored, &x_stored));
  for (size_t t = 0; t < T; t++) {
    for (size_t i = 0; i < ROWS; i++)
      assert_true(((const float *)dy_stored)[t * ROWS + i] == dy[t * ROWS + f->row[i]]);
    for (size_t j = 0; j < COLS; j++)
      assert_true(((const float *)x_stored)[t * COLS + j] == x[t * COLS + f->col[j]]);
  }
  assert_ok(sb_product_weight_gradient(&f->scope, &f->product, g, dy_stored, x_stored));
  check_close("weight gradient", g, want, ROWS * COLS, 1e-5, 1.0);
}

static void dense(void **state) {
  (void)state;
  for (int ordered = 0; ordered < 2; ordered++) {
    fixture f;
    set_up(&f, ordered);
    make_dense(&f);
    for (int add = 0; add < 2; add++) {
      check_forward(&f, add);
      check_input_gradient(&f, add);
    }
    check_weight_gradient(&f);
    tear_down(&f);
  }
}

static void packed(void **state) {
  (void)state;
  for (int ordered = 0; ordered < 2; ordered++) {
    fixture f;
    float dx = 0.0f, dy = 0.0f;
    set_up(&f, ordered);
    make_packed(&f);
    for (int add = 0; add < 2; add++) check_forward(&f, add);
    check_weight_gradient(&f);
    assert_int_equal(sb_product_input_gradient(&f.scope, &f.product, &dx, &dy, false),
                     SB_ERR_UNSUPPORTED);
    assert_non_null(strstr(sb_message(), "[45, 70]"));
    tear_down(&f);
  }
}

/* Without an order the factors stay where they are: no copy, no room needed. */
static void no_order_no_copy(void **state) {
  (void)state;
  fixture f;
  set_up(&f, false);
  make_dense(&f);
  f.scope.input_room_dev = f.scope.output_room_dev = NULL;
  const float dy[T * ROWS] = {0}, x[T * COLS] = {0};
  const void *dy_stored = dy, *x_stored = x;
  assert_ok(sb_product_arrange(&f.scope, &f.product, &dy_stored, &x_stored));
  assert_ptr_equal(dy_stored, dy);
  assert_ptr_equal(x_stored, x);
  tear_down(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(dense), cmocka_unit_test(packed),
                                     cmocka_unit_test(no_order_no_copy)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
