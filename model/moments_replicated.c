/* Second moments of which every rank has all: summed over its sequences, then over ranks, then factorised on every rank. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/moments_impl.h"
#include "mpi/large.h"

static sb_status allocate(sb_moments *m) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < SB_INPUTS; i++) {
    const size_t n = m->width[i], count = n * n;
    m->count[i] = count;
    SB_TRY(b->op->alloc(b, count * sizeof(float), "second moments", (void **)&m->device[i]));
    SB_TRY(sb_alloc_raw(&m->factor[i], count, sizeof(float), "factors of second moments"));
    SB_TRY(sb_alloc_raw(&m->sums[i], count, sizeof(int64_t), "second moments"));
  }
  return SB_OK;
}

static sb_status take(sb_moments *m, sb_stream stream, size_t input, const void *x) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->width[input];
  return b->op->gemm(b, stream, true, false, n, n, m->setup.seqlen, 1.0f, x, b->act, n, x, b->act, n, 0.0f,
                     m->device[input], SB_F32, n);
}

/* The moments of the sequence just seen, on the host in the factor's place. */
static sb_status fetch(sb_moments *m, sb_stream stream, size_t input) {
  sb_backend *b = m->setup.backend;
  SB_TRY(b->op->download(b, stream, m->factor[input], m->device[input], m->count[input] * sizeof(float)));
  return b->op->sync(b, stream);
}

static sb_status largest(sb_moments *m, sb_stream stream, size_t input, double *square) {
  const size_t n = m->width[input];
  SB_TRY(fetch(m, stream, input));
  for (size_t k = 0; k < n; k++) *square = fmax(*square, (double)m->factor[input][k * n + k]);
  return SB_OK;
}

static sb_status add(sb_moments *m, sb_stream stream, size_t s) {
  sb_status status = SB_OK;
  for (size_t i = 0; i < SB_INPUTS && s < m->setup.local && status == SB_OK; i++) {
    status = fetch(m, stream, i);
    if (status == SB_OK) status = sb_moments_add_whole(m, i, m->sums[i], m->factor[i], m->count[i], false);
  }
  return sb_world_agree(m->world, status);
}

/* Sums over ranks, then every rank makes the same factors: each on one thread, because the order in which LAPACK adds
 * depends on how many it has. */
static sb_status factorise(sb_moments *m, sb_gptq_repair *repairs) {
  sb_status status[SB_INPUTS];
  char message[SB_INPUTS][256];
  for (size_t i = 0; i < SB_INPUTS; i++) SB_TRY(sb_mpi_sum_i64(m->sums[i], m->count[i], m->world->comm));
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t k = 0; k < SB_INPUTS; k++) {
    const size_t i = SB_INPUTS - 1 - k; /* the widest first */
    status[i] =
        sb_gptq_factor(m->factor[i], sb_moments_real(m, i), m->width[i], m->setup.damping, &repairs[i]);
    if (status[i] != SB_OK)
      snprintf(message[i], sizeof message[i], "%s", sb_message()); /* messages are a thread's own */
  }
  for (size_t i = 0; i < SB_INPUTS; i++) {
    if (status[i] != SB_OK) status[i] = sb_moments_blame(m, i, status[i], message[i]);
    SB_AGREE(m->world, status[i]);
  }
  return SB_OK;
}

static sb_status panel(sb_moments *m, size_t input, size_t begin, size_t *end, const float **out,
                       size_t *ld) {
  *ld = *end = m->width[input];
  *out = m->factor[input] + begin * *ld + begin;
  return SB_OK;
}

static sb_status rows(sb_moments *m, size_t input, size_t begin, size_t *end, const float **out) {
  *end = m->width[input];
  *out = m->whole[input] + begin * *end;
  return SB_OK;
}

static size_t diagonal(const sb_moments *m, size_t input, size_t i) {
  return i * m->width[input] + i;
}

const sb_moments_way sb_moments_replicated = {allocate, take, add, largest, factorise, panel, rows, diagonal};
