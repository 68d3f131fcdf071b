#include "train/gradient_sums.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "mpi/exact.h"
#include "mpi/large.h"

#define QUANTUM 0x1p-40
enum { LANES = 16 };
/* The limit of add_multiples is 2^50 quanta, 2^10; so a sum stays below 2^62. */
_Static_assert((int)SB_GRADIENT_LIMIT == 1 << 10 && SB_GRADIENT_SEQUENCES <= 1 << 12, "limit");

struct sb_gradient_sums {
  const sb_shares *shares;
  sb_backend *backend;
  double scale;
  bool direct;      /* one rank, whose memory is the device's: groups are summed where they stay */
  size_t group;     /* that is being summed, or SB_NONE */
  int64_t *now;     /* its sums [elements of the group] on the device */
  int64_t *sum_dev; /* [elements of the largest group]; NULL if direct */
  int64_t *host;    /* the same on the host; NULL on a unified backend */
  int64_t *part;    /* over ranks, of this rank's elements of a group; NULL if direct */
  int64_t *owned;   /* [elements of this rank] */
  bool *seen;       /* [groups] has a part in `owned` since the pass began */
  size_t *starts;   /* [ranks + 1] */
  double *squares;  /* [units of this rank] */
  double adding, reducing;
};

static sb_status allocate(sb_gradient_sums *s) {
  const sb_shares *shares = s->shares;
  const sb_model *m = shares->model;
  sb_backend *b = s->backend;
  const size_t largest = sb_shares_largest_group(shares);
  SB_TRY(sb_alloc(&s->owned, shares->elements, sizeof *s->owned, "gradients"));
  SB_TRY(sb_alloc(&s->seen, m->groups, sizeof *s->seen, "gradients"));
  SB_TRY(sb_alloc(&s->starts, (size_t)m->world->size + 1, sizeof *s->starts, "gradients"));
  SB_TRY(sb_alloc(&s->squares, shares->count, sizeof *s->squares, "gradients"));
  if (s->direct) return SB_OK;
  SB_TRY(sb_alloc(&s->part, sb_shares_most_of_a_group(shares), sizeof *s->part, "gradients"));
  if (!b->unified) SB_TRY(sb_alloc(&s->host, largest, sizeof *s->host, "gradients"));
  return b->op->alloc(b, largest * sizeof *s->sum_dev, "gradients of a layer",
                      (void **)&s->sum_dev);
}

size_t sb_gradient_sums_bytes(const sb_share_sizes *z) {
  const sb_gradient_sums s = {0};
  const size_t whole = sizeof s + z->elements * sizeof *s.owned + z->groups * sizeof *s.seen +
                       (z->ranks + 1) * sizeof *s.starts + z->units * sizeof *s.squares;
  if (z->unified && z->ranks == 1) return whole;
  return whole + z->most_of_a_group * sizeof *s.part + z->largest_group * sizeof *s.sum_dev +
         (z->unified ? 0 : z->largest_group * sizeof *s.host);
}

sb_status sb_gradient_sums_create(const sb_shares *shares, sb_backend *backend, size_t sequences,
                                  sb_gradient_sums **out) {
  const sb_world *world = shares->model->world;
  SB_TRY(sb_world_alloc(world, out, sizeof **out, "gradients"));
  sb_gradient_sums *s = *out;
  s->shares = shares;
  s->backend = backend;
  s->scale = QUANTUM / (double)sequences;
  s->direct = backend->unified && world->size == 1;
  s->group = SB_NONE;
  const sb_status status = sb_world_agree(world, allocate(s));
  if (status != SB_OK) sb_gradient_sums_free(out);
  return status;
}

void sb_gradient_sums_free(sb_gradient_sums **sums) {
  sb_gradient_sums *s = *sums;
  if (!s) return;
  s->backend->op->free(s->backend, s->sum_dev);
  sb_free(&s->host);
  sb_free(&s->part);
  sb_free(&s->owned);
  sb_free(&s->seen);
  sb_free(&s->starts);
  sb_free(&s->squares);
  sb_free(sums);
}

/* ---- adding ---- */

static sb_status enter(sb_gradient_sums *s, sb_stream stream, size_t group) {
  const sb_model *m = s->shares->model;
  if (s->group == group) return SB_OK;
  s->group = group;
  s->now = s->direct ? s->owned + s->shares->before[group] : s->sum_dev;
  if (s->direct && s->seen[group]) return SB_OK;
  sb_shares_starts(s->shares, group, s->starts);
  return s->backend->op->zero(s->backend, stream, s->now,
                              s->starts[m->world->size] * sizeof *s->now);
}

static sb_status add(sb_gradient_sums *s, sb_stream stream, size_t tensor, size_t first_row,
                     size_t rows, const float *g) {
  const sb_model_tensor *t = &s->shares->model->arch.tensors[tensor];
  size_t group;
  const size_t at = sb_shares_locate(s->shares, tensor, first_row, &group);
  SB_SPAN_INTO(&s->adding, SB_TRACE_COMPUTE, "add gradient", tensor);
  SB_TRY(enter(s, stream, group));
  const sb_status status = s->backend->op->add_multiples(s->backend, stream, s->now + at, g,
                                                         rows * t->cols, QUANTUM, false);
  return status == SB_ERR_NUMERIC
             ? sb_fail(status, "the gradient of %s is no number, or is %g or more in one sequence",
                       t->name, SB_GRADIENT_LIMIT)
             : status;
}

/* All sequences of the wave are in. Collective. */
static sb_status leave(sb_gradient_sums *s, size_t group) {
  const sb_world *world = s->shares->model->world;
  sb_backend *b = s->backend;
  sb_status status = enter(s, NULL, group); /* this rank may have had no sequence */
  SB_SPAN_INTO(&s->reducing, SB_TRACE_EXCHANGE, "reduce gradients", group);
  s->group = SB_NONE;
  if (!s->direct) {
    const size_t first = s->shares->before[group], count = s->shares->before[group + 1] - first;
    const int64_t *sums = b->unified ? s->now : s->host;
    if (!b->unified) {
      SB_THEN(b->op->download(b, NULL, s->host, s->now, s->starts[world->size] * sizeof *s->host));
      SB_THEN(b->op->sync(b, NULL));
    }
    SB_AGREE(world, status);
    SB_TRY(sb_mpi_reduce_scatter_i64(s->part, sums, s->starts, world->comm));
    int64_t *owned = s->owned + first;
    if (!s->seen[group])
      memcpy(owned, s->part, count * sizeof *owned);
    else
      for (size_t i = 0; i < count; i++) owned[i] += s->part[i];
  }
  s->seen[group] = true;
  return status;
}

/* ---- as hooks of a pass ---- */

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_gradient_sums *s = context;
  (void)prepared;
  return enter(s, stream, s->shares->model->layer_first + layer);
}

static sb_status take_matrix(void *context, sb_stream stream, size_t layer, size_t matrix,
                             const float *g) {
  sb_gradient_sums *s = context;
  const sb_arch *arch = &s->shares->model->arch;
  const size_t tensor = arch->matrices[arch->layers[layer].first_matrix + matrix];
  return add(s, stream, tensor, 0, arch->tensors[tensor].rows, g);
}

static sb_status take_parameter(void *context, sb_stream stream, size_t tensor, size_t first_row,
                                size_t rows, const float *g) {
  return add(context, stream, tensor, first_row, rows, g);
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  (void)context, (void)stream, (void)layer;
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  sb_gradient_sums *s = context;
  return leave(s, s->shares->model->layer_first + layer);
}

static sb_status end_parameter(void *context, size_t tensor, size_t first_row, size_t rows) {
  sb_gradient_sums *s = context;
  size_t group;
  (void)rows;
  (void)sb_shares_locate(s->shares, tensor, first_row, &group);
  return leave(s, group);
}

sb_status sb_gradient_sums_measure(sb_gradient_sums *s, sb_pass *pass, double *loss) {
  const sb_pass_hooks hooks = {.context = s,
                               .begin_layer = begin_layer,
                               .matrix = take_matrix,
                               .parameter = take_parameter,
                               .end_parameter = end_parameter,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  s->group = SB_NONE;
  memset(s->seen, 0, s->shares->model->groups * sizeof *s->seen);
  return sb_pass_gradients(pass, &hooks, loss);
}

const int64_t *sb_gradient_sums_owned(const sb_gradient_sums *s, double *scale) {
  *scale = s->scale;
  return s->owned;
}

/* ---- norm ---- */

static double square(const int64_t *sums, const int64_t *less, size_t i, double scale) {
  const double g = (double)(float)((double)(sums[i] - (less ? less[i] : 0)) * scale);
  return g * g;
}

/* Lane i sums the elements i, i + 16, ...; then the lanes are added in order. */
static double square_sum(const int64_t *sums, const int64_t *less, size_t count, double scale) {
  double lanes[LANES] = {0}, all = 0;
  size_t i = 0;
  for (; i + LANES <= count; i += LANES)
    for (size_t lane = 0; lane < LANES; lane++) lanes[lane] += square(sums, less, i + lane, scale);
  for (size_t lane = 0; lane + i < count; lane++)
    lanes[lane] += square(sums, less, i + lane, scale);
  for (size_t lane = 0; lane < LANES; lane++) all += lanes[lane];
  return all;
}

sb_status sb_gradient_sums_norm(const sb_gradient_sums *s, const int64_t *less, double *norm) {
  const sb_shares *shares = s->shares;
  double sum;
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t i = 0; i < shares->count; i++) {
    const sb_share *u = &shares->units[i];
    s->squares[i] =
        square_sum(s->owned + u->first, less ? less + u->first : NULL, u->count, s->scale);
  }
  SB_TRY(sb_exact_total(s->squares, shares->count, shares->model->world->comm, &sum));
  *norm = sqrt(sum);
  return SB_OK;
}

double sb_gradient_sums_adding(const sb_gradient_sums *s) {
  return s->adding;
}

double sb_gradient_sums_reducing(const sb_gradient_sums *s) {
  return s->reducing;
}
