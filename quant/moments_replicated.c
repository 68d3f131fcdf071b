/* Replicated second moments: every rank has all of them, on its device. They are summed over its
 * sequences, then over ranks, then factorised on every rank. */
#include <math.h>

#include "base/memory.h"
#include "quant/moments_impl.h"

/* Squares of the widths of all inputs, and of the widest. */
static size_t squares(const sb_moments_setup *setup, const sb_sizes *z) {
  return setup->width > 0 ? setup->width * setup->width : z->layer.squares;
}
static size_t largest_square(const sb_moments_setup *setup, const sb_sizes *z) {
  const size_t n = setup->width > 0 ? setup->width : z->layer.widest;
  return n * n;
}

/* Sums, the factor, the moments where they are kept; a sequence's square, where there are any. */
static size_t bytes(const sb_moments_setup *setup, const sb_sizes *z) {
  const size_t floats = 1 + (setup->keep ? 1 : 0) + (setup->width > 0 ? 0 : 1);
  return squares(setup, z) * (sizeof(int64_t) + floats * sizeof(float));
}

/* Inputs are factorised side by side, one per thread, the widest first. */
static size_t factor_bytes(const sb_moments_setup *setup, const sb_sizes *z, int threads) {
  return sizeof(double) * (threads > 1 ? squares(setup, z) : largest_square(setup, z));
}

/* Whether there will be room for the widest input to be factorised. */
static sb_status try_room(const sb_moments *m) {
  sb_backend *b = m->setup.backend;
  size_t most = 0;
  void *room = NULL;
  for (size_t i = 0; i < m->most_inputs; i++) most = sb_max_size(most, m->in[i].count);
  const sb_status status =
      b->op->alloc(b, most * sizeof(double), "factors of second moments", &room);
  b->op->free(b, room);
  return status;
}

static sb_status allocate(sb_moments *m) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < m->most_inputs; i++) {
    const size_t count = m->in[i].room * m->in[i].room;
    m->in[i].count = count;
    SB_TRY(b->op->alloc(b, count * sizeof(int64_t), "second moments", (void **)&m->in[i].sums));
    if (m->setup.width == 0)
      SB_TRY(b->op->alloc(b, count * sizeof(float), "second moments", (void **)&m->in[i].square));
    SB_TRY(b->op->alloc(b, count * sizeof(float), "factors of second moments",
                        (void **)&m->in[i].factor));
    if (m->setup.keep)
      SB_TRY(b->op->alloc(b, count * sizeof(float), "second moments", (void **)&m->in[i].whole));
  }
  SB_TRY(sb_device_sums_open(m->world, b, m->setup.host_piece, &m->over_ranks));
  return b->unified ? SB_OK : try_room(m);
}

static void release(sb_moments *m) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < m->most_inputs; i++) {
    b->op->free(b, m->in[i].sums);
    b->op->free(b, m->in[i].square);
    b->op->free(b, m->in[i].factor);
    b->op->free(b, m->in[i].whole);
  }
  sb_device_sums_release(&m->over_ranks);
}

static sb_status begin(sb_moments *m, sb_stream stream) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < m->inputs; i++) {
    m->in[i].count = m->in[i].width * m->in[i].width;
    SB_TRY(b->op->zero(b, stream, m->in[i].sums, m->in[i].count * sizeof *m->in[i].sums));
  }
  return SB_OK;
}

static sb_status take(sb_moments *m, sb_stream stream, size_t input, const void *x) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->in[input].width;
  return b->op->gemm(b, stream,
                     &(sb_gemm_args){.m = n,
                                     .n = n,
                                     .k = m->setup.seqlen,
                                     .a = sb_view_transposed(x, b->operand, n),
                                     .b = sb_view(x, b->operand, n),
                                     .c = m->in[input].square,
                                     .c_dtype = SB_F32,
                                     .ldc = n});
}

/* The diagonal of the sequence just seen: elements k (n + 1) of the square as one long column. */
static sb_status fetch_diagonal(sb_moments *m, sb_stream stream, size_t input, uint32_t *index,
                                void *scratch_dev, float *diagonal) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->in[input].width;
  uint32_t *index_dev = scratch_dev;
  float *diagonal_dev = (float *)(index_dev + n);
  for (size_t k = 0; k < n; k++) index[k] = (uint32_t)(k * (n + 1));
  SB_TRY(b->op->upload(b, stream, index_dev, index, n * sizeof *index));
  SB_TRY(b->op->gather_matrix(b, stream, diagonal_dev, m->in[input].square, SB_F32, n, 1, index_dev,
                              NULL));
  SB_TRY(b->op->download(b, stream, diagonal, diagonal_dev, n * sizeof *diagonal));
  return b->op->sync(b, stream);
}

static sb_status largest(sb_moments *m, sb_stream stream, size_t input, double *square) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->in[input].width;
  uint32_t *index = NULL;
  float *diagonal = NULL;
  void *scratch_dev = NULL;
  sb_status status = SB_OK;
  if (n > (size_t)1 << 16)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "an input of %zu channels is too wide for --factor replicated: use --factor distributed",
        n);
  SB_GO(sb_alloc_raw(&index, n, sizeof *index, "diagonal of second moments"));
  SB_GO(sb_alloc_raw(&diagonal, n, sizeof *diagonal, "diagonal of second moments"));
  SB_GO(b->op->alloc(b, n * (sizeof *index + sizeof *diagonal), "diagonal of second moments",
                     &scratch_dev));
  SB_GO(fetch_diagonal(m, stream, input, index, scratch_dev, diagonal));
  for (size_t k = 0; k < n; k++) *square = fmax(*square, (double)diagonal[k]);
done:
  b->op->free(b, scratch_dev);
  sb_free(&diagonal);
  sb_free(&index);
  return status;
}

static sb_status add(sb_moments *m, sb_stream stream, size_t s) {
  sb_backend *b = m->setup.backend;
  sb_status status = SB_OK;
  for (size_t i = 0; i < m->inputs && s < m->setup.local && status == SB_OK; i++) {
    status = b->op->add_multiples(b, stream, m->in[i].sums, m->in[i].square, m->in[i].count,
                                  m->in[i].quantum, false);
    SB_THEN(b->op->sync(b, stream));
    status = sb_moments_blame_sum(m, i, status);
  }
  return sb_world_agree(m->world, status);
}

/* On a device of its own in pieces, through the host. */
static sb_status give(sb_moments *m, sb_stream stream, const double *h) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->in[0].width;
  int64_t *row = NULL;
  sb_status status = sb_alloc_raw(&row, n, sizeof *row, "a row of second moments");
  m->in[0].count = n * n;
  for (size_t i = 0; i < n && status == SB_OK; i++) {
    for (size_t j = 0; j < n; j++) row[j] = sb_moments_given(m, h, i, j);
    status = b->op->upload(b, stream, m->in[0].sums + i * n, row, n * sizeof *row);
    SB_THEN(b->op->sync(b, stream)); /* the row is filled again */
  }
  sb_free(&row);
  return status;
}

static sb_status factorise_all(sb_moments *m, sb_stream stream, sb_factor_job *jobs) {
  sb_backend *b = m->setup.backend;
  for (size_t k = 0; k < m->inputs; k++) {
    const sb_moments_input *in = &m->in[m->inputs - 1 - k]; /* the widest comes first */
    jobs[k] = (sb_factor_job){.n = in->width,
                              .sums = in->sums,
                              .quantum = in->quantum,
                              .damping = m->setup.damping,
                              .factor = in->factor,
                              .kept = in->whole};
  }
  SB_TRY(b->op->factor_moments(b, stream, jobs, m->inputs));
  for (size_t k = 0; k < m->inputs; k++) {
    const size_t i = m->inputs - 1 - k;
    m->in[i].repair = jobs[k].repair;
    if (jobs[k].status != SB_OK) return sb_moments_blame(m, i, jobs[k].status, jobs[k].message);
  }
  return SB_OK;
}

static sb_status factorise(sb_moments *m, sb_stream stream) {
  sb_factor_job *jobs = NULL;
  for (size_t i = 0; i < m->inputs && !m->given; i++) /* given ones are whole on every rank */
    SB_TRY(sb_device_sums_make(&m->over_ranks, stream, m->in[i].sums, m->in[i].count));
  sb_status status = sb_alloc(&jobs, m->inputs, sizeof *jobs, "factors of second moments");
  SB_THEN(factorise_all(m, stream, jobs));
  sb_free(&jobs);
  return sb_world_agree(m->world, status);
}

static sb_status panel(sb_moments *m, size_t input, size_t begin_at, size_t *end, const float **out,
                       size_t *ld) {
  *ld = *end = m->in[input].width;
  *out = m->in[input].factor + begin_at * *ld + begin_at;
  return SB_OK;
}

static sb_status rows(sb_moments *m, size_t input, size_t begin_at, size_t *end,
                      const float **out) {
  *end = m->in[input].width;
  *out = m->in[input].whole + begin_at * *end;
  return SB_OK;
}

const sb_moments_way sb_moments_replicated = {
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
