#include "quant/factor_scalapack.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "mpi/large.h"
#include "quant/scalapack.h"

typedef struct job {
  const sb_cyclic *layout;
  const sb_world *world;
  int descriptor[9];
  double scale; /* of H in the factorisation, a power of 4: single precision then cannot overflow */
  double *diagonal; /* of H, on every rank, [n] */
  const double *h;  /* this rank's part */
  double *wide;     /* work in double precision, or */
  float *narrow;
} job;

/* Where element (i, i) lies in this rank's part; SIZE_MAX when it is another rank's. */
static size_t diagonal_at(const sb_cyclic *c, size_t i) {
  return sb_cyclic_owner(c, i, i) == c->row * c->grid_cols + c->col ? sb_cyclic_at(c, i, i)
                                                                    : SIZE_MAX;
}

/* The whole diagonal on every rank: each element is one rank's, the others add zeros, so it is the
 * same everywhere. */
static sb_status gather_diagonal(job *j, const double *h) {
  const size_t n = j->layout->n;
  SB_AGREE(j->world, sb_alloc(&j->diagonal, n, sizeof *j->diagonal, "diagonal of second moments"));
  for (size_t i = 0; i < n; i++) {
    const size_t at = diagonal_at(j->layout, i);
    if (at != SIZE_MAX) j->diagonal[i] = h[at];
  }
  return sb_mpi_sum_u64((uint64_t *)j->diagonal, n, j->world->comm); /* bits + zeros */
}

/* Gives dead inputs the mean of the diagonal. */
static sb_status mend_diagonal(job *j, double *h, sb_factor_repair *repair) {
  SB_TRY(gather_diagonal(j, h));
  SB_TRY(sb_factor_mend(j->diagonal, j->layout->n, repair));
  for (size_t i = 0; i < j->layout->n; i++) {
    const size_t at = diagonal_at(j->layout, i);
    if (at != SIZE_MAX) h[at] = j->diagonal[i];
  }
  return SB_OK;
}

static void fill(const job *j, const double *h, double added) {
  const size_t count = sb_cyclic_elements(j->layout);
#pragma omp parallel for schedule(static)
  for (size_t k = 0; k < count; k++)
    if (j->wide)
      j->wide[k] = h[k] * j->scale;
    else
      j->narrow[k] = (float)(h[k] * j->scale);
  for (size_t i = 0; i < j->layout->n; i++) {
    const size_t at = diagonal_at(j->layout, i);
    if (at == SIZE_MAX) continue;
    if (j->wide)
      j->wide[at] = (h[at] + added) * j->scale;
    else
      j->narrow[at] = (float)((h[at] + added) * j->scale);
  }
}

/* Of this rank's column lc, how many rows are in the upper triangle. */
static size_t upper_rows(const sb_cyclic *c, size_t lc) {
  const size_t column = sb_cyclic_global(lc, c->block, c->col, c->grid_cols);
  return sb_cyclic_share(column + 1, c->block, c->row, c->grid_rows);
}

static double work_at(const job *j, size_t at) {
  return j->wide ? j->wide[at] : (double)j->narrow[at];
}

/* ScaLAPACK goes on when it meets NaN. */
static bool finite_triangle(const job *j) {
  const sb_cyclic *c = j->layout;
  bool finite = true;
  for (size_t lc = 0; lc < c->local_cols; lc++)
    for (size_t lr = 0; lr < upper_rows(c, lc); lr++)
      finite = finite && isfinite(work_at(j, lc * sb_cyclic_ld(c) + lr));
  return finite;
}

/* work = C^-1 of the matrix in it; *done says whether that worked, on all ranks alike. */
static sb_status factorise(const job *j, bool *done) {
  const int n = (int)j->layout->n, one = 1;
  int info = 0, worst;
  if (j->wide)
    pdpotrf_("U", &n, j->wide, &one, &one, j->descriptor, &info);
  else
    pspotrf_("U", &n, j->narrow, &one, &one, j->descriptor, &info);
  SB_MPI(MPI_Allreduce(&info, &worst, 1, MPI_INT, MPI_MAX, j->world->comm));
  if (worst == 0) {
    if (j->wide)
      pdtrtri_("U", "N", &n, j->wide, &one, &one, j->descriptor, &info);
    else
      pstrtri_("U", "N", &n, j->narrow, &one, &one, j->descriptor, &info);
    if (info == 0) info = !finite_triangle(j);
    SB_MPI(MPI_Allreduce(&info, &worst, 1, MPI_INT, MPI_MAX, j->world->comm));
  }
  *done = worst == 0;
  return SB_OK;
}

/* Whether a channel's variance inflation factor is beyond what single precision bears.
 * Rows of the layout are columns of U (see the header): their sums of squares are the
 * diagonal of the inverse. */
static sb_status too_inflated(const job *j, double added, bool *answer) {
  const sb_cyclic *c = j->layout;
  double *inverse = NULL;
  int beyond = 0, any;
  SB_AGREE(j->world, sb_alloc(&inverse, c->n, sizeof *inverse, "diagonal of an inverse"));
  for (size_t lc = 0; lc < c->local_cols; lc++)
    for (size_t lr = 0; lr < upper_rows(c, lc); lr++) {
      const double x = work_at(j, lc * sb_cyclic_ld(c) + lr);
      inverse[sb_cyclic_global(lr, c->block, c->row, c->grid_rows)] += x * x;
    }
  sb_status status = sb_mpi_check(
      MPI_Allreduce(MPI_IN_PLACE, inverse, (int)c->n, MPI_DOUBLE, MPI_SUM, j->world->comm),
      "MPI_Allreduce");
  for (size_t i = 0; i < c->n; i++)
    beyond |= !(inverse[i] * (j->diagonal[i] + added) * j->scale <= SB_FACTOR_INFLATION);
  sb_free(&inverse);
  SB_TRY(status);
  SB_MPI(MPI_Allreduce(&beyond, &any, 1, MPI_INT, MPI_MAX, j->world->comm));
  *answer = any;
  return SB_OK;
}

static sb_status allocate(job *j, sb_factor_precision precision) {
  const size_t count = sb_cyclic_elements(j->layout);
  sb_free(&j->narrow);
  return sb_world_agree(j->world,
                        precision == SB_FACTOR_SINGLE
                            ? sb_alloc_raw(&j->narrow, count, sizeof *j->narrow, "Cholesky factor")
                            : sb_alloc_raw(&j->wide, count, sizeof *j->wide, "Cholesky factor"));
}

/* In the precision at hand; a matrix that single precision does not bear goes on in double. */
static sb_status attempt(void *context, double added, bool *done) {
  job *j = context;
  bool inflated = false;
  fill(j, j->h, added);
  SB_TRY(factorise(j, done));
  if (*done && j->narrow) SB_TRY(too_inflated(j, added, &inflated));
  if (!j->narrow || (*done && !inflated)) return SB_OK;
  SB_TRY(allocate(j, SB_FACTOR_DOUBLE));
  fill(j, j->h, added);
  return factorise(j, done);
}

static void keep(const job *j, float *factor) {
  const sb_cyclic *c = j->layout;
  const double scale = sqrt(j->scale);
  for (size_t lc = 0; lc < c->local_cols; lc++)
    for (size_t lr = 0; lr < c->local_rows; lr++) {
      const size_t at = lc * sb_cyclic_ld(c) + lr;
      factor[at] = lr < upper_rows(c, lc) ? (float)(work_at(j, at) * scale) : 0.0f;
    }
}

sb_status sb_factor_scalapack(const sb_cyclic *layout, const sb_world *world, float *factor,
                              double *h, double least_damping, sb_factor_precision precision,
                              sb_factor_repair *repair) {
  const int threads = omp_get_max_threads(), n = (int)layout->n, block = (int)layout->block;
  const int ld = (int)sb_cyclic_ld(layout);
  job j = {.layout = layout, .world = world, .h = h};
  int handle, context, exponent;
  *repair = (sb_factor_repair){0};
  sb_status status = mend_diagonal(&j, h, repair);
  if (status == SB_OK) {
    frexp(repair->mean, &exponent);
    j.scale = ldexp(1.0, -(exponent & ~1)); /* even: its root is a power of 2 too */
    context = handle = Csys2blacs_handle(world->comm);
    Cblacs_gridinit(&context, "Row", layout->grid_rows, layout->grid_cols);
    memcpy(j.descriptor, (int[]){1, context, n, n, block, block, 0, 0, ld}, sizeof j.descriptor);
    omp_set_num_threads(1); /* the order in which BLAS adds depends on how many it has */
    status = allocate(&j, precision);
    SB_THEN(sb_factor_damp(least_damping, attempt, &j, repair));
    omp_set_num_threads(threads);
    Cblacs_gridexit(context);
    Cfree_blacs_system_handle(handle);
  }
  repair->single = j.narrow != NULL;
  if (status == SB_OK) keep(&j, factor);
  sb_free(&j.diagonal);
  sb_free(&j.wide);
  sb_free(&j.narrow);
  return status;
}

static void reverse(float *x, size_t count) {
  for (size_t k = 0; k < count / 2; k++) {
    const float first = x[k];
    x[k] = x[count - 1 - k];
    x[count - 1 - k] = first;
  }
}

sb_status sb_factor_panel(const sb_cyclic *layout, const sb_world *world, float *out,
                          const float *factor, size_t a, size_t b) {
  const size_t n = layout->n;
  const sb_region region = {0, n - a, n - b, n - a};
  SB_TRY(sb_cyclic_gather(layout, world, factor, sizeof *factor, &region, out));
  reverse(out, (b - a) * (n - a));
  return SB_OK;
}

sb_status sb_symmetric_rows(const sb_cyclic *layout, const sb_world *world, float *out, float *part,
                            const float *h, size_t a, size_t b) {
  const size_t n = layout->n, rows = b - a;
  /* on and behind the diagonal block: as they are */
  SB_TRY(sb_factor_panel(layout, world, part, h, a, b));
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < n - a;
         c++) /* inside the diagonal block only its own upper triangle is there */
      out[r * n + a + c] = part[c < r ? c * (n - a) + r : r * (n - a) + c];
  if (a == 0) return SB_OK;
  /* before it: rows [0, a) of columns [a, b) */
  const sb_region before = {n - b, n - a, n - a, n};
  SB_TRY(sb_cyclic_gather(layout, world, h, sizeof *h, &before, part));
  reverse(part, rows * a);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < a; c++) out[r * n + c] = part[c * rows + r];
  return SB_OK;
}
