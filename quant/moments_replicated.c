/* Second moments of which every rank has all, on its device: summed over its sequences, then over
 * ranks, then factorised on every rank. */
#include <math.h>

#include "base/memory.h"
#include "quant/moments_impl.h"

/* Sums, a sequence's square, the factor, and the moments where they are kept. */
static size_t bytes(const sb_moments_setup *setup, const sb_sizes *z) {
  const size_t each = sizeof(int64_t) + (setup->keep ? 3 : 2) * sizeof(float);
  return z->layer.squares * each;
}

/* Inputs are factorised side by side, one a thread, the widest first. */
static size_t factor_bytes(const sb_moments_setup *setup, const sb_sizes *z, int threads) {
  (void)setup;
  return sizeof(double) * (threads > 1 ? z->layer.squares : z->layer.widest * z->layer.widest);
}

/* Whether there will be room for the widest input to be factorised. */
static sb_status try_room(const sb_moments *m) {
  sb_backend *b = m->setup.backend;
  size_t most = 0;
  void *room = NULL;
  for (size_t i = 0; i < SB_INPUTS; i++) most = sb_max_size(most, m->count[i]);
  const sb_status status =
      b->op->alloc(b, most * sizeof(double), "factors of second moments", &room);
  b->op->free(b, room);
  return status;
}

static sb_status allocate(sb_moments *m) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < SB_INPUTS; i++) {
    const size_t count = m->width[i] * m->width[i];
    m->count[i] = count;
    SB_TRY(b->op->alloc(b, count * sizeof(int64_t), "second moments", (void **)&m->sums[i]));
    SB_TRY(b->op->alloc(b, count * sizeof(float), "second moments", (void **)&m->square[i]));
    SB_TRY(b->op->alloc(b, count * sizeof(float), "factors of second moments",
                        (void **)&m->factor[i]));
    if (m->setup.keep)
      SB_TRY(b->op->alloc(b, count * sizeof(float), "second moments", (void **)&m->whole[i]));
  }
  SB_TRY(sb_device_sums_open(m->world, b, m->setup.host_piece, &m->over_ranks));
  return b->unified ? SB_OK : try_room(m);
}

static void release(sb_moments *m) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < SB_INPUTS; i++) {
    b->op->free(b, m->sums[i]);
    b->op->free(b, m->square[i]);
    b->op->free(b, m->factor[i]);
    b->op->free(b, m->whole[i]);
  }
  sb_device_sums_release(&m->over_ranks);
}

static sb_status begin(sb_moments *m, sb_stream stream) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < SB_INPUTS; i++)
    SB_TRY(b->op->zero(b, stream, m->sums[i], m->count[i] * sizeof *m->sums[i]));
  return SB_OK;
}

static sb_status take(sb_moments *m, sb_stream stream, size_t input, const void *x) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->width[input];
  return b->op->gemm(b, stream,
                     &(sb_gemm_args){.m = n,
                                     .n = n,
                                     .k = m->setup.seqlen,
                                     .a = sb_view_transposed(x, b->operand, n),
                                     .b = sb_view(x, b->operand, n),
                                     .c = m->square[input],
                                     .c_dtype = SB_F32,
                                     .ldc = n});
}

/* The diagonal of the sequence just seen: elements k (n + 1) of the square as one long column. */
static sb_status fetch_diagonal(sb_moments *m, sb_stream stream, size_t input, uint32_t *index,
                                void *there, float *diagonal) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->width[input];
  uint32_t *index_there = there;
  float *diagonal_there = (float *)(index_there + n);
  for (size_t k = 0; k < n; k++) index[k] = (uint32_t)(k * (n + 1));
  SB_TRY(b->op->upload(b, stream, index_there, index, n * sizeof *index));
  SB_TRY(b->op->gather_matrix(b, stream, diagonal_there, m->square[input], SB_F32, n, 1,
                              index_there, NULL));
  SB_TRY(b->op->download(b, stream, diagonal, diagonal_there, n * sizeof *diagonal));
  return b->op->sync(b, stream);
}

static sb_status largest(sb_moments *m, sb_stream stream, size_t input, double *square) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->width[input];
  uint32_t *index = NULL;
  float *diagonal = NULL;
  void *there = NULL;
  sb_status status = SB_OK;
  if (n > (size_t)1 << 16)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "an input of %zu channels is too wide for --factor replicated: use --factor distributed",
        n);
  SB_GO(sb_alloc_raw(&index, n, sizeof *index, "diagonal of second moments"));
  SB_GO(sb_alloc_raw(&diagonal, n, sizeof *diagonal, "diagonal of second moments"));
  SB_GO(b->op->alloc(b, n * (sizeof *index + sizeof *diagonal), "diagonal of second moments",
                     &there));
  SB_GO(fetch_diagonal(m, stream, input, index, there, diagonal));
  for (size_t k = 0; k < n; k++) *square = fmax(*square, (double)diagonal[k]);
done:
  b->op->free(b, there);
  sb_free(&diagonal);
  sb_free(&index);
  return status;
}

static sb_status add(sb_moments *m, sb_stream stream, size_t s) {
  sb_backend *b = m->setup.backend;
  sb_status status = SB_OK;
  for (size_t i = 0; i < SB_INPUTS && s < m->setup.local && status == SB_OK; i++) {
    status = b->op->add_multiples(b, stream, m->sums[i], m->square[i], m->count[i], m->quantum[i],
                                  false);
    if (status == SB_OK) status = b->op->sync(b, stream);
    status = sb_moments_blame_sum(m, i, status);
  }
  return sb_world_agree(m->world, status);
}

static sb_status factorise(sb_moments *m, sb_stream stream, sb_factor_repair *repairs) {
  sb_backend *b = m->setup.backend;
  sb_factor_job jobs[SB_INPUTS];
  for (size_t i = 0; i < SB_INPUTS; i++)
    SB_TRY(sb_device_sums_make(&m->over_ranks, stream, m->sums[i], m->count[i]));
  for (size_t k = 0; k < SB_INPUTS; k++) {
    const size_t i = SB_INPUTS - 1 - k; /* the widest first */
    jobs[k] = (sb_factor_job){.n = m->width[i],
                              .sums = m->sums[i],
                              .quantum = m->quantum[i],
                              .damping = m->setup.damping,
                              .factor = m->factor[i],
                              .kept = m->whole[i]};
  }
  sb_status status = b->op->factor_moments(b, stream, jobs, SB_INPUTS);
  for (size_t k = 0; k < SB_INPUTS && status == SB_OK; k++) {
    const size_t i = SB_INPUTS - 1 - k;
    repairs[i] = jobs[k].repair;
    if (jobs[k].status != SB_OK) status = sb_moments_blame(m, i, jobs[k].status, jobs[k].message);
  }
  return sb_world_agree(m->world, status);
}

static sb_status panel(sb_moments *m, size_t input, size_t begin_at, size_t *end, const float **out,
                       size_t *ld) {
  *ld = *end = m->width[input];
  *out = m->factor[input] + begin_at * *ld + begin_at;
  return SB_OK;
}

static sb_status rows(sb_moments *m, size_t input, size_t begin_at, size_t *end,
                      const float **out) {
  *end = m->width[input];
  *out = m->whole[input] + begin_at * *end;
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
    .factorise = factorise,
    .panel = panel,
    .rows = rows,
};
