/* Second moments that are spread over all ranks, reversed (quant/factor_scalapack.h), and come and
 * go in panels. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "quant/factor_scalapack.h"
#include "quant/moments_impl.h"

enum { DIAGONAL_BLOCK = 64 };

static size_t bytes_of(const sb_moments *m, size_t input) { /* of one sequence */
  return m->setup.seqlen * m->in[input].width * sb_dtype_size(m->setup.backend->operand);
}

/* Panels give every column of the grid the same share where they are whole rounds of blocks. */
static size_t panel_columns(const sb_cyclic *layout) {
  const size_t round = layout->block * (size_t)layout->grid_cols;
  const size_t columns = sb_div_up(SB_MOMENT_PANEL, round) * round;
  return columns <= 2 * SB_MOMENT_PANEL ? columns : SB_MOMENT_PANEL;
}

/* Of rank 0, which has at least as many elements as any. */
static size_t most_elements(size_t n, size_t ranks) {
  sb_cyclic layout;
  const bool fits = sb_cyclic_create(n, SB_MOMENT_BLOCK, 0, (int)ranks, 0, &layout) == SB_OK;
  return fits ? sb_cyclic_elements(&layout) : n * n / ranks;
}

static size_t widest_of(const sb_moments_setup *setup, const sb_sizes *z) {
  return setup->width > 0 ? setup->width : z->layer.widest;
}

/* Inputs of sequences that wait to be multiplied. */
static size_t kept_bytes(const sb_moments_setup *setup, const sb_sizes *z) {
  if (setup->width > 0) return 0;
  const size_t sequence =
      setup->seqlen * z->layer.channels * sb_dtype_size(setup->backend->operand);
  return sequence * sb_max_size(1, sb_min_size(setup->input_bytes / sequence, setup->most_local));
}

static size_t bytes(const sb_moments_setup *setup, const sb_sizes *z) {
  const size_t widest = widest_of(setup, z), kept = kept_bytes(setup, z);
  size_t elements = 0;
  sb_cyclic grid = {.block = SB_MOMENT_BLOCK};
  sb_cyclic_grid((int)z->ranks, &grid.grid_rows, &grid.grid_cols);
  for (size_t i = 0; i < sb_moments_inputs(setup, z->arch); i++)
    elements += most_elements(sb_moments_widest(setup, z->arch, i), z->ranks);
  const size_t panel = sb_min_size(widest, panel_columns(&grid)),
               blocks = sb_max_size(1, panel / z->blocking.cols),
               rows = sb_min_size(widest, blocks * z->blocking.cols);
  return elements * (sizeof(int64_t) + (setup->keep ? sizeof(float) : 0)) + kept +
         widest * (panel * ((setup->width > 0 ? 0 : sizeof(float)) + sizeof(int64_t)) +
                   sb_max_size(panel, rows) * sizeof(float));
}

/* Inputs are factorised one after another. */
static size_t factor_bytes(const sb_moments_setup *setup, const sb_sizes *z, int threads) {
  (void)threads;
  return most_elements(widest_of(setup, z), z->ranks) * sizeof(double);
}

static sb_status lay_out(sb_moments *m, size_t input) {
  sb_moments_input *in = &m->in[input];
  SB_TRY(
      sb_cyclic_create(in->width, SB_MOMENT_BLOCK, 0, m->world->size, m->world->rank, &in->layout));
  in->count = sb_cyclic_elements(&in->layout);
  return SB_OK;
}

/* Where sequences are multiplied: their inputs, and a panel of products on the device. */
static sb_status allocate_products(sb_moments *m, size_t count) {
  sb_backend *b = m->setup.backend;
  size_t sequence = 0;
  if (m->setup.width > 0) return SB_OK;
  for (size_t i = 0; i < m->most_inputs; i++) sequence += bytes_of(m, i);
  m->keep = sb_max_size(1, sb_min_size(m->setup.input_bytes / sequence, m->setup.most_local));
  for (size_t i = 0; i < m->most_inputs; i++)
    SB_TRY(b->op->alloc(b, m->keep * bytes_of(m, i), "inputs of calibration sequences",
                        &m->in[i].kept));
  SB_TRY(b->op->alloc(b, count * sizeof(float), "panel of second moments", (void **)&m->product));
  m->part_dev = m->part;
  if (b->unified) return SB_OK;
  m->part_dev = NULL;
  return b->op->alloc(b, count * sizeof *m->part, "panel of second moments", (void **)&m->part_dev);
}

static sb_status allocate(sb_moments *m) {
  size_t widest = 0;
  for (size_t i = 0; i < m->most_inputs; i++) {
    widest = sb_max_size(widest, m->in[i].width);
    SB_TRY(lay_out(m, i));
    SB_TRY(sb_alloc_raw(&m->in[i].sums, m->in[i].count, sizeof *m->in[i].sums, "second moments"));
    m->in[i].factor = (float *)m->in[i].sums;
    if (m->setup.keep)
      SB_TRY(
          sb_alloc_raw(&m->in[i].whole, m->in[i].count, sizeof *m->in[i].whole, "second moments"));
  }
  m->panel = sb_min_size(widest, panel_columns(&m->in[0].layout));
  const size_t blocks = sb_max_size(1, m->panel / m->setup.model->blocking.cols);
  m->rows = sb_min_size(widest, blocks * m->setup.model->blocking.cols);
  const size_t count = m->panel * widest;
  SB_TRY(sb_alloc_raw(&m->host, sb_max_size(m->panel, m->rows) * widest, sizeof *m->host,
                      "panel of second moments"));
  SB_TRY(sb_alloc_raw(&m->part, count, sizeof *m->part, "panel of second moments"));
  return allocate_products(m, count);
}

static void release(sb_moments *m) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < m->most_inputs; i++) {
    sb_free(&m->in[i].sums);
    sb_free(&m->in[i].whole);
    b->op->free(b, m->in[i].kept);
  }
  b->op->free(b, m->product);
  if (m->part_dev != m->part) b->op->free(b, m->part_dev);
  sb_free(&m->host);
  sb_free(&m->part);
}

static sb_status begin(sb_moments *m, sb_stream stream) {
  (void)stream;
  m->held = 0;
  for (size_t i = 0; i < m->inputs; i++) {
    SB_TRY(lay_out(m, i));
    memset(m->in[i].sums, 0, m->in[i].count * sizeof *m->in[i].sums);
  }
  return SB_OK;
}

static sb_status take(sb_moments *m, sb_stream stream, size_t input, const void *x) {
  sb_backend *b = m->setup.backend;
  return b->op->copy(b, stream, (char *)m->in[input].kept + m->held * bytes_of(m, input), x,
                     bytes_of(m, input));
}

/* product = rows [a, b) x columns [a, end) of x'x for a kept sequence, row-major. */
static sb_status multiply(sb_moments *m, sb_stream stream, size_t input, size_t sequence, size_t a,
                          size_t b, size_t end) {
  sb_backend *backend = m->setup.backend;
  const size_t n = m->in[input].width;
  const char *x = (const char *)m->in[input].kept + sequence * bytes_of(m, input);
  x += a * sb_dtype_size(backend->operand);
  return backend->op->gemm(backend, stream,
                           &(sb_gemm_args){.m = b - a,
                                           .n = end - a,
                                           .k = m->setup.seqlen,
                                           .a = sb_view_transposed(x, backend->operand, n),
                                           .b = sb_view(x, backend->operand, n),
                                           .c = m->product,
                                           .c_dtype = SB_F32,
                                           .ldc = end - a});
}

static sb_status largest(sb_moments *m, sb_stream stream, size_t input, double *square) {
  sb_backend *backend = m->setup.backend;
  const size_t n = m->in[input].width, step = sb_min_size(DIAGONAL_BLOCK, m->panel);
  for (size_t a = 0; a < n; a += step) {
    const size_t b = sb_min_size(n, a + step);
    SB_TRY(multiply(m, stream, input, 0, a, b, b));
    SB_TRY(backend->op->download(backend, stream, m->host, m->product,
                                 (b - a) * (b - a) * sizeof(float)));
    SB_TRY(backend->op->sync(backend, stream));
    for (size_t k = 0; k < b - a; k++) *square = fmax(*square, (double)m->host[k * (b - a) + k]);
  }
  return SB_OK;
}

/* part = rows [a, b) x columns [a, n) of the sum over the kept sequences, read from its end: the
 * region of rows [0, n - a) and columns [n - b, n - a) of the layout. */
static sb_status sum_kept(sb_moments *m, sb_stream stream, size_t input, size_t a, size_t b) {
  sb_backend *backend = m->setup.backend;
  const size_t n = m->in[input].width, count = (b - a) * (n - a);
  SB_TRY(backend->op->zero(backend, stream, m->part_dev, count * sizeof *m->part));
  for (size_t s = 0; s < m->held; s++) {
    SB_TRY(multiply(m, stream, input, s, a, b, n));
    SB_TRY(backend->op->add_multiples(backend, stream, m->part_dev, m->product, count,
                                      m->in[input].quantum, true));
  }
  if (m->part_dev != m->part)
    SB_TRY(backend->op->download(backend, stream, m->part, m->part_dev, count * sizeof *m->part));
  return backend->op->sync(backend, stream);
}

static sb_status spread(sb_moments *m, sb_stream stream, size_t input) {
  const sb_cyclic *layout = &m->in[input].layout;
  const size_t n = m->in[input].width;
  for (size_t column = 0; column < n; column += m->panel) {
    const size_t after = sb_min_size(n, column + m->panel);
    const sb_region region = {0, after, column, after};
    SB_AGREE(m->world,
             sb_moments_blame_sum(m, input, sum_kept(m, stream, input, n - after, n - column)));
    SB_TRY(sb_cyclic_add(layout, m->world, m->in[input].sums, &region, m->part));
  }
  return SB_OK;
}

static sb_status add(sb_moments *m, sb_stream stream, size_t s) {
  if (s < m->setup.local) m->held++;
  if ((s + 1) % m->keep != 0 && s + 1 != m->setup.most_local) return SB_OK;
  for (size_t i = 0; i < m->inputs; i++) SB_TRY(spread(m, stream, i));
  m->held = 0;
  return SB_OK;
}

/* Elements of the layout in their order; the layout has H reversed. */
static sb_status give(sb_moments *m, sb_stream stream, const double *h) {
  const sb_cyclic *c = &m->in[0].layout;
  const size_t last = m->in[0].width - 1;
  (void)stream;
  for (size_t lc = 0; lc < c->local_cols; lc++) {
    const size_t col = sb_cyclic_global(lc, c->block, c->col, c->grid_cols);
    for (size_t lr = 0; lr < c->local_rows; lr++) {
      const size_t row = sb_cyclic_global(lr, c->block, c->row, c->grid_rows);
      m->in[0].sums[lc * sb_cyclic_ld(c) + lr] = sb_moments_given(m, h, last - col, last - row);
    }
  }
  return SB_OK;
}

/* Place of element (i, i), or SIZE_MAX when it is another rank's. */
static size_t diagonal_at(const sb_moments *m, size_t input, size_t i) {
  const sb_cyclic *c = &m->in[input].layout;
  const size_t r = m->in[input].width - 1 - i;
  return sb_cyclic_owner(c, r, r) == m->world->rank ? sb_cyclic_at(c, r, r) : SIZE_MAX;
}

/* What factorisation did to the diagonal. */
static void repair_kept(sb_moments *m, size_t input, const sb_factor_repair *repair) {
  float *h = m->in[input].whole;
  for (size_t k = 0; k < m->in[input].width; k++) {
    const size_t at = diagonal_at(m, input, k);
    if (at != SIZE_MAX) h[at] = sb_factor_damped(h[at], repair);
  }
}

static sb_status factorise_input(sb_moments *m, size_t input, sb_factor_repair *repair) {
  double *h = (double *)m->in[input].sums; /* from here on */
  sb_factor_real(h, m->in[input].count, m->in[input].quantum);
  for (size_t k = 0; m->in[input].whole && k < m->in[input].count; k++)
    m->in[input].whole[k] = (float)h[k];
  SB_TRY(sb_factor_scalapack(
      &m->in[input].layout, m->world, m->in[input].factor, h, m->setup.damping,
      m->setup.mode == SB_FACTOR_DISTRIBUTED_SINGLE ? SB_FACTOR_SINGLE : SB_FACTOR_DOUBLE, repair));
  if (m->in[input].whole) repair_kept(m, input, repair);
  return SB_OK;
}

static sb_status factorise(sb_moments *m, sb_stream stream) {
  (void)stream;
  for (size_t i = 0; i < m->inputs; i++) {
    const sb_status status = factorise_input(m, i, &m->in[i].repair);
    if (status != SB_OK) {
      char message[256];
      snprintf(message, sizeof message, "%s", sb_message());
      return sb_moments_blame(m, i, status, message);
    }
  }
  return SB_OK;
}

static sb_status panel(sb_moments *m, size_t input, size_t begin, size_t *end, const float **out,
                       size_t *ld) {
  const size_t n = m->in[input].width;
  *end = sb_min_size(n, begin + m->rows);
  *ld = n - begin;
  *out = m->host;
  return sb_factor_panel(&m->in[input].layout, m->world, m->host, m->in[input].factor, begin, *end);
}

/* `part`, which sums passed through, has room for a panel: 8 bytes for each of at
 * least half its rows. */
static sb_status rows(sb_moments *m, size_t input, size_t begin, size_t *end, const float **out) {
  *end = sb_min_size(m->in[input].width, begin + m->rows);
  *out = m->host;
  return sb_symmetric_rows(&m->in[input].layout, m->world, m->host, (float *)m->part,
                           m->in[input].whole, begin, *end);
}

const sb_moments_way sb_moments_block_cyclic = {
    .bytes = bytes,
    .factor_bytes = factor_bytes,
    .allocate = allocate,
    .release = release,
    .begin = begin,
    .take = take,
    .add = add,
    .largest = largest,
    .give = give,
    .factorise = factorise,
    .panel = panel,
    .rows = rows,
};
