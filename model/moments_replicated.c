/* Second moments of which every rank has all, on its device: summed over its sequences, then over ranks, then factorised on
 * every rank. */
#include <math.h>

#include "base/memory.h"
#include "model/moments_impl.h"
#include "mpi/large.h"

enum { PIECE = 1 << 23 };

static size_t piece_of(const sb_moments *m) {
  return m->setup.host_piece ? m->setup.host_piece : PIECE;
}

/* How sums get from rank to rank: from device to device, in MPI's hands where it takes them from there, or through the host. */
enum way { NOWHERE, BY_DEVICES, BY_MPI, BY_HOST };
static enum way way_of_sums(const sb_moments *m) {
  const sb_backend *b = m->setup.backend;
  if (m->world->size == 1) return NOWHERE;
  if (b->peers[SB_PEERS_ALL] > 1) return BY_DEVICES;
  return b->in_mpi ? BY_MPI : BY_HOST;
}

/* Whether there will be room for the widest input to be factorised. */
static sb_status try_room(const sb_moments *m) {
  sb_backend *b = m->setup.backend;
  size_t most = 0;
  void *room = NULL;
  for (size_t i = 0; i < SB_INPUTS; i++) most = sb_max_size(most, m->count[i]);
  const sb_status status = b->op->alloc(b, most * sizeof(double), "factors of second moments", &room);
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
    SB_TRY(b->op->alloc(b, count * sizeof(float), "factors of second moments", (void **)&m->factor[i]));
    if (m->setup.keep)
      SB_TRY(b->op->alloc(b, count * sizeof(float), "second moments", (void **)&m->whole[i]));
  }
  if (b->unified) return SB_OK;
  SB_TRY(try_room(m));
  for (int k = 0; k < 2 && way_of_sums(m) == BY_HOST; k++)
    SB_TRY(b->op->host_alloc(b, piece_of(m) * sizeof(int64_t), "second moments on their way",
                             (void **)&m->way_by[k]));
  return SB_OK;
}

static void release(sb_moments *m) {
  sb_backend *b = m->setup.backend;
  for (size_t i = 0; i < SB_INPUTS; i++) {
    b->op->free(b, m->sums[i]);
    b->op->free(b, m->square[i]);
    b->op->free(b, m->factor[i]);
    b->op->free(b, m->whole[i]);
  }
  for (int k = 0; k < 2; k++) b->op->host_free(b, m->way_by[k]);
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
  return b->op->gemm(b, stream, true, false, n, n, m->setup.seqlen, 1.0f, x, b->operand, n, x, b->operand, n,
                     0.0f, m->square[input], SB_F32, n);
}

/* The diagonal of the sequence just seen: elements k (n + 1) of the square as one long column. */
static sb_status fetch_diagonal(sb_moments *m, sb_stream stream, size_t input, uint32_t *index, void *there,
                                float *diagonal) {
  sb_backend *b = m->setup.backend;
  const size_t n = m->width[input];
  uint32_t *index_there = there;
  float *diagonal_there = (float *)(index_there + n);
  for (size_t k = 0; k < n; k++) index[k] = (uint32_t)(k * (n + 1));
  SB_TRY(b->op->upload(b, stream, index_there, index, n * sizeof *index));
  SB_TRY(b->op->gather_matrix(b, stream, diagonal_there, m->square[input], SB_F32, n, 1, index_there, NULL));
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
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "an input of %zu channels is too wide for --factor replicated: use --factor distributed",
                   n);
  SB_GO(sb_alloc_raw(&index, n, sizeof *index, "diagonal of second moments"));
  SB_GO(sb_alloc_raw(&diagonal, n, sizeof *diagonal, "diagonal of second moments"));
  SB_GO(b->op->alloc(b, n * (sizeof *index + sizeof *diagonal), "diagonal of second moments", &there));
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
    status = b->op->add_multiples(b, stream, m->sums[i], m->square[i], m->count[i], m->quantum[i], false);
    if (status == SB_OK) status = b->op->sync(b, stream);
    status = sb_moments_blame_sum(m, i, status);
  }
  return sb_world_agree(m->world, status);
}

/* While one piece is on the network, the next one is on its way from the device. */
static sb_status sum_pieces(sb_moments *m, sb_stream stream, size_t input) {
  sb_backend *b = m->setup.backend;
  const size_t count = m->count[input], piece = piece_of(m);
  int64_t *sums = m->sums[input];
  sb_status status = b->op->download(b, stream, m->way_by[0], sums, sb_min_size(piece, count) * sizeof *sums);
  for (size_t at = 0, k = 0; at < count; at += piece, k++) {
    const size_t part = sb_min_size(piece, count - at), next = at + part;
    int64_t *here = m->way_by[k % 2], *there = m->way_by[(k + 1) % 2];
    if (status == SB_OK) status = b->op->sync(b, stream);
    if (status == SB_OK && next < count)
      status =
          b->op->download(b, stream, there, sums + next, sb_min_size(piece, count - next) * sizeof *sums);
    SB_AGREE(m->world, status);
    SB_TRY(sb_mpi_sum_i64(here, part, m->world->comm));
    status = b->op->upload(b, stream, sums + at, here, part * sizeof *sums);
  }
  if (status == SB_OK) status = b->op->sync(b, stream);
  return sb_world_agree(m->world, status);
}

/* MPI reads and writes when it is called, whatever is queued. */
static sb_status sum_by_mpi(sb_moments *m, sb_stream stream, size_t input) {
  SB_AGREE(m->world, m->setup.backend->op->sync(m->setup.backend, stream));
  return sb_mpi_sum_i64(m->sums[input], m->count[input], m->world->comm);
}

static sb_status sum_over_ranks(sb_moments *m, sb_stream stream, size_t input) {
  sb_backend *b = m->setup.backend;
  switch (way_of_sums(m)) {
  case BY_DEVICES:
    return b->op->sum_i64(b, stream, m->sums[input], m->count[input]);
  case BY_MPI:
    return sum_by_mpi(m, stream, input);
  case BY_HOST:
    return sum_pieces(m, stream, input);
  case NOWHERE:
    break;
  }
  return SB_OK;
}

static sb_status factorise(sb_moments *m, sb_stream stream, sb_factor_repair *repairs) {
  sb_backend *b = m->setup.backend;
  sb_factor_job jobs[SB_INPUTS];
  for (size_t i = 0; i < SB_INPUTS; i++) SB_TRY(sum_over_ranks(m, stream, i));
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

static sb_status rows(sb_moments *m, size_t input, size_t begin_at, size_t *end, const float **out) {
  *end = m->width[input];
  *out = m->whole[input] + begin_at * *end;
  return SB_OK;
}

const sb_moments_way sb_moments_replicated = {allocate, release,   begin, take, add,
                                              largest,  factorise, panel, rows};
