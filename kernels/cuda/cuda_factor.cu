/* Second moments in multiples of a quantum, and their factors in double precision, by cuSOLVER.
 *
 * The matrix is reversed on its way to cuSOLVER and back, which makes the factor of the inverse out
 * of the inverse of a factor: quant/factor_scalapack.h has the algebra. */
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

extern "C" {
#include "base/memory.h"
#include "kernels/shared/multiple.h"
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    add_multiples(int64_t *sums, const float *x, size_t count, double scale, bool reversed,
                  int *trouble) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  bool good = true;
  for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < count; k += step)
    good &= sb_add_multiple(&sums[k], x[reversed ? count - 1 - k : k], scale);
  if (!good) *trouble = SB_CUDA_TROUBLE_MULTIPLES;
}

sb_status sb_cuda_add_multiples(sb_backend *backend, sb_stream stream, int64_t *sums,
                                const float *x, size_t count, double quantum, bool reversed) {
  if (count == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "add_multiples", add_multiples,
                        sb_cuda_blocks_for(backend, count), SB_CUDA_THREADS, 0, sums, x, count,
                        1.0 / quantum, reversed, sb_cuda_of(backend)->trouble);
}

/* ---- kernels of a factorisation ---- */

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    take_diagonal(double *diagonal, const int64_t *sums, size_t n, double quantum) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
    diagonal[i] = (double)sums[i * n + i] * quantum;
}

/* a = the reversed moments, with `added` on the mended diagonal. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    fill(double *a, const int64_t *sums, const double *diagonal, size_t n, double quantum,
         double added) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < n * n; k += step) {
    const size_t i = k / n;
    a[k] = i == k % n ? diagonal[n - 1 - i] + added : (double)sums[n * n - 1 - k] * quantum;
  }
}

/* factor = `a` reversed, in single precision, with zeros below the diagonal. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    turn(float *factor, const double *a, size_t n) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < n * n; k += step)
    factor[k] = k % n >= k / n ? (float)a[n * n - 1 - k] : 0.0f;
}

/* kept = the moments as they were factorised, in single precision. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    keep(float *kept, const int64_t *sums, size_t n, double quantum, sb_factor_repair repair) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t k = (size_t)blockIdx.x * blockDim.x + threadIdx.x; k < n * n; k += step) {
    const float element = (float)((double)sums[k] * quantum);
    kept[k] = k / n == k % n ? sb_factor_damped(element, &repair) : element;
  }
}

/* ---- one matrix ---- */

/* A factorisation in progress. */
typedef struct work {
  sb_backend *backend;
  cudaStream_t stream;
  sb_factor_job *job;
  double *a;        /* device [n, n] */
  double *diagonal; /* device [n], mended */
  int *info;        /* device */
  void *room;       /* device, for cuSOLVER */
  void *host_room;  /* host, for cuSOLVER */
  size_t room_bytes, host_bytes;
} work;

static sb_status solved(const sb_backend *backend, cusolverStatus_t status, const char *what) {
  if (status == CUSOLVER_STATUS_SUCCESS) return SB_OK;
  return sb_fail(SB_ERR_DEVICE, "%s: cuSOLVER failed at %s (its status %d)",
                 ((const sb_cuda *)backend->impl)->where, what, (int)status);
}

/* Loads cuSOLVER on first use: most runs need no factors. */
static sb_status open_solver(sb_backend *backend) {
  sb_cuda *cuda = sb_cuda_of(backend);
  sb_cuda_solver *s = &cuda->solver;
  if (s->handle) return SB_OK;
  if (!s->library) SB_TRY(sb_cuda_solver_load(s, cuda->where));
  SB_TRY(solved(backend, s->create(&s->handle), "its start"));
  return solved(backend, s->create_params(&s->params), "its start");
}

void sb_cuda_factor_close(sb_backend *backend) {
  sb_cuda_solver *s = &sb_cuda_of(backend)->solver;
  if (s->params) (void)s->destroy_params(s->params);
  if (s->handle) (void)s->destroy(s->handle);
  s->params = NULL;
  s->handle = NULL;
  sb_cuda_solver_unload(s);
}

/* *answer = whether the last step succeeded, that is, found a positive definite matrix. Waits. */
static sb_status positive(const work *w, bool *answer) {
  int info = 0;
  SB_TRY(sb_cuda_download(w->backend, (sb_stream)w->stream, &info, w->info, sizeof info));
  SB_TRY(sb_cuda_sync(w->backend, (sb_stream)w->stream));
  *answer = info == 0;
  return SB_OK;
}

/* An sb_factor_attempt: `a` becomes the Cholesky factor, then its inverse. */
static sb_status attempt(void *context, double added, bool *done) {
  const work *w = (const work *)context;
  const sb_factor_job *job = w->job;
  sb_cuda_solver *s = &sb_cuda_of(w->backend)->solver;
  const int64_t n = (int64_t)job->n;
  SB_TRY(sb_cuda_launch(w->backend, w->stream, "second moments", fill,
                        sb_cuda_blocks_for(w->backend, job->n * job->n), SB_CUDA_THREADS, 0, w->a,
                        (const int64_t *)job->sums, w->diagonal, job->n, job->quantum, added));
  SB_TRY(solved(w->backend, s->set_stream(s->handle, w->stream), "its start"));
  SB_TRY(solved(w->backend,
                s->potrf(s->handle, s->params, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, w->a, n,
                         CUDA_R_64F, w->room, w->room_bytes, w->host_room, w->host_bytes, w->info),
                "a Cholesky factor"));
  SB_TRY(positive(w, done));
  if (!*done) return SB_OK;
  SB_TRY(solved(w->backend,
                s->trtri(s->handle, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n, CUDA_R_64F,
                         w->a, n, w->room, w->room_bytes, w->host_room, w->host_bytes, w->info),
                "the inverse of a triangle"));
  return positive(w, done);
}

/* Gets memory for cuSOLVER: as much as the larger of its two steps wants. */
static sb_status make_room(work *w) {
  sb_cuda_solver *s = &sb_cuda_of(w->backend)->solver;
  const int64_t n = (int64_t)w->job->n;
  size_t first[2] = {0, 0}, second[2] = {0, 0};
  SB_TRY(solved(w->backend,
                s->potrf_size(s->handle, s->params, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, w->a, n,
                              CUDA_R_64F, &first[0], &first[1]),
                "asking for its memory"));
  SB_TRY(solved(w->backend,
                s->trtri_size(s->handle, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n,
                              CUDA_R_64F, w->a, n, &second[0], &second[1]),
                "asking for its memory"));
  w->room_bytes = sb_max_size(first[0], second[0]);
  w->host_bytes = sb_max_size(first[1], second[1]);
  SB_TRY(sb_cuda_scratch(w->backend, w->stream, SB_CUDA_SLOT_WORK, w->room_bytes, &w->room));
  return sb_alloc_raw(&w->host_room, sb_max_size(w->host_bytes, 1), 1, "memory of cuSOLVER");
}

/* The diagonal is mended on the host, by the same code as on the CPU. */
static sb_status mend(const work *w, double *diagonal) {
  const sb_factor_job *job = w->job;
  SB_TRY(sb_cuda_launch(w->backend, w->stream, "second moments", take_diagonal,
                        sb_cuda_blocks_for(w->backend, job->n), SB_CUDA_THREADS, 0, w->diagonal,
                        (const int64_t *)job->sums, job->n, job->quantum));
  SB_TRY(sb_cuda_download(w->backend, (sb_stream)w->stream, diagonal, w->diagonal,
                          job->n * sizeof *diagonal));
  SB_TRY(sb_cuda_sync(w->backend, (sb_stream)w->stream));
  SB_TRY(sb_factor_mend(diagonal, job->n, &w->job->repair));
  SB_TRY(sb_cuda_upload(w->backend, (sb_stream)w->stream, w->diagonal, diagonal,
                        job->n * sizeof *diagonal));
  return sb_cuda_sync(w->backend, (sb_stream)w->stream);
}

static sb_status finish(const work *w) {
  const sb_factor_job *job = w->job;
  const unsigned blocks = sb_cuda_blocks_for(w->backend, job->n * job->n);
  SB_TRY(sb_cuda_launch(w->backend, w->stream, "factor of second moments", turn, blocks,
                        SB_CUDA_THREADS, 0, job->factor, (const double *)w->a, job->n));
  if (job->kept)
    SB_TRY(sb_cuda_launch(w->backend, w->stream, "second moments", keep, blocks, SB_CUDA_THREADS, 0,
                          job->kept, (const int64_t *)job->sums, job->n, job->quantum,
                          job->repair));
  return sb_cuda_sync(w->backend, (sb_stream)w->stream);
}

static sb_status factorise(sb_backend *backend, cudaStream_t stream, sb_factor_job *job) {
  work w = {};
  double *diagonal = NULL;
  char *small = NULL;
  w.backend = backend;
  w.stream = stream;
  w.job = job;
  sb_status status =
      sb_alloc_raw(&diagonal, job->n, sizeof *diagonal, "diagonal of second moments");
  SB_THEN(sb_cuda_alloc(backend, job->n * job->n * sizeof *w.a,
                        "a Cholesky factor (--factor distributed takes less)", (void **)&w.a));
  SB_THEN(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_SMALL,
                          job->n * sizeof *w.diagonal + sizeof *w.info, &small));
  if (status == SB_OK) {
    w.diagonal = (double *)small;
    w.info = (int *)(small + job->n * sizeof *w.diagonal);
    status = make_room(&w);
  }
  SB_THEN(mend(&w, diagonal));
  SB_THEN(sb_factor_damp(job->damping, attempt, &w, &job->repair));
  SB_THEN(finish(&w));
  sb_free(&diagonal);
  sb_free(&w.host_room);
  sb_cuda_free(backend, w.a);
  return status;
}

sb_status sb_cuda_factor_moments(sb_backend *backend, sb_stream stream, sb_factor_job *jobs,
                                 size_t count) {
  SB_TRY(open_solver(backend));
  for (size_t i = 0; i < count; i++) {
    jobs[i].status = factorise(backend, sb_cuda_stream(backend, stream), &jobs[i]);
    if (jobs[i].status == SB_OK) continue;
    snprintf(jobs[i].message, sizeof jobs[i].message, "%s", sb_message());
    if (jobs[i].status != SB_ERR_NUMERIC) return jobs[i].status;
  }
  return SB_OK;
}
