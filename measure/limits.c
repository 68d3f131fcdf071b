#include "measure/limits.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "measure/numbers.h"
#include "measure/timing.h"
#include "mpi/large.h"
#include "quant/device_sums.h"

enum { SUMS_BYTES = 64 << 20, LEAST_SIDE = 1024, MOST_SIDE = 16384, BATCH = 4 };
#define GEMM_SECONDS 0.02

/* ---- GEMM ---- */

typedef struct product {
  sb_backend *backend;
  void *m[3];
  size_t side;
} product;

static sb_status multiply(void *context) {
  const product *p = context;
  sb_backend *b = p->backend;
  const size_t n = p->side;
  SB_TRY(b->op->gemm(b, NULL,
                     &(sb_gemm_args){.m = n,
                                     .n = n,
                                     .k = n,
                                     .a = sb_view(p->m[0], b->operand, n),
                                     .b = sb_view_transposed(p->m[1], b->operand, n),
                                     .c = p->m[2],
                                     .c_dtype = b->act,
                                     .ldc = n}));
  return b->op->sync(b, NULL);
}

static sb_status allocate_product(product *p) {
  sb_backend *b = p->backend;
  const sb_dtype types[3] = {b->operand, b->operand, b->act};
  for (int i = 0; i < 3; i++) {
    const size_t bytes = p->side * p->side * sb_dtype_size(types[i]);
    SB_TRY(b->op->alloc(b, bytes, "matrix", &p->m[i]));
    if (i < 2) SB_TRY(sb_numbers_upload(b, p->m[i], types[i], p->side * p->side));
  }
  return SB_OK;
}

static void release_product(product *p) {
  for (int i = 0; i < 3; i++) {
    p->backend->op->free(p->backend, p->m[i]);
    p->m[i] = NULL;
  }
}

sb_status sb_limit_gemm(const sb_world *world, sb_backend *backend, int rounds, double *flops) {
  product p = {.backend = backend};
  double seconds = 0;
  sb_status status = SB_OK;
  *flops = 0;
  for (p.side = LEAST_SIDE; p.side <= MOST_SIDE && seconds < GEMM_SECONDS && status == SB_OK;
       p.side *= 2) {
    status = allocate_product(&p);
    if (world) status = sb_world_agree(world, status);
    SB_THEN(sb_time_best(world, rounds, multiply, &p, &seconds));
    release_product(&p);
    if (status == SB_OK)
      *flops = fmax(*flops, 2.0 * (double)p.side * (double)p.side * (double)p.side / seconds);
  }
  return status;
}

/* ---- memory ---- */

typedef struct memory {
  sb_backend *backend;
  void *device[2];
  void *host; /* as transfers like it */
  size_t host_bytes, device_bytes;
  uint64_t sum;
} memory;

/* All ranks of a node together outgrow its caches, and a device's own memory is copied in pieces
 * that do: a cache is no limit of the phases. */
static void choose_sizes(const sb_world *world, memory *m) {
  const size_t node = (size_t)512 << 20, large = (size_t)1 << 30;
  m->host_bytes = sb_max_size(SUMS_BYTES, node / (size_t)world->node_size / 4096 * 4096);
  m->device_bytes = m->backend->unified
                        ? m->host_bytes
                        : sb_max_size(SUMS_BYTES, sb_min_size(large, m->backend->free_bytes / 16));
}

static sb_status read_host(void *context) {
  memory *m = context;
  const uint64_t *from = m->host;
  uint64_t sum = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : sum)
  for (size_t i = 0; i < m->host_bytes / sizeof *from; i++) sum += from[i];
  m->sum += sum; /* so that it is not left out */
  return SB_OK;
}

/* BATCH copies, so that no wait counts. */
static sb_status copy_device(void *context) {
  const memory *m = context;
  sb_backend *b = m->backend;
  for (int i = 0; i < BATCH; i++)
    SB_TRY(b->op->copy(b, NULL, m->device[i % 2], m->device[1 - i % 2], m->device_bytes));
  return b->op->sync(b, NULL);
}

static sb_status upload(void *context) {
  const memory *m = context;
  sb_backend *b = m->backend;
  SB_TRY(
      b->op->upload(b, NULL, m->device[0], m->host, sb_min_size(m->host_bytes, m->device_bytes)));
  return b->op->sync(b, NULL);
}

static sb_status download(void *context) {
  const memory *m = context;
  sb_backend *b = m->backend;
  SB_TRY(
      b->op->download(b, NULL, m->host, m->device[0], sb_min_size(m->host_bytes, m->device_bytes)));
  return b->op->sync(b, NULL);
}

static sb_status allocate_memory(memory *m) {
  sb_backend *b = m->backend;
  SB_TRY(b->op->host_alloc(b, m->host_bytes, "memory to be read", &m->host));
  memset(m->host, 1, m->host_bytes);
  for (int i = 0; i < 2; i++) {
    SB_TRY(b->op->alloc(b, m->device_bytes, "memory to be copied", &m->device[i]));
    SB_TRY(b->op->zero(b, NULL, m->device[i], m->device_bytes));
  }
  return b->op->sync(b, NULL);
}

sb_status sb_limit_memory(const sb_world *world, sb_backend *backend, int rounds, sb_machine *out) {
  memory m = {.backend = backend};
  choose_sizes(world, &m);
  const double crossing = (double)sb_min_size(m.host_bytes, m.device_bytes);
  const struct {
    sb_figure figure;
    sb_timed *work;
    double bytes;
    bool apart; /* only where host and device are not one */
  } cases[] = {{SB_FIGURE_MEMORY_READ, read_host, (double)m.host_bytes, false},
               {SB_FIGURE_MEMORY_COPY, copy_device, 2.0 * BATCH * (double)m.device_bytes, false},
               {SB_FIGURE_UPLOAD, upload, crossing, true},
               {SB_FIGURE_DOWNLOAD, download, crossing, true}};
  sb_status status = sb_world_agree(world, allocate_memory(&m));
  for (size_t i = 0; i < sizeof cases / sizeof *cases && status == SB_OK; i++) {
    double seconds;
    if (cases[i].apart && backend->unified) continue;
    status = sb_time_best(world, rounds, cases[i].work, &m, &seconds);
    if (status == SB_OK) out->value[cases[i].figure] = cases[i].bytes / seconds;
  }
  out->read_bytes = m.host_bytes;
  out->copy_bytes = m.device_bytes;
  for (int i = 0; i < 2; i++) backend->op->free(backend, m.device[i]);
  backend->op->host_free(backend, m.host);
  return status;
}

/* ---- network ---- */

/* The part of a result that comes from other ranks; what the best algorithms
 * of an all-reduce move. */
static double others(const sb_world *world) {
  return (double)(world->size - 1) / (double)world->size;
}
static double moved(const sb_world *world, double bytes) {
  return 2.0 * bytes * others(world);
}

typedef struct exchange {
  const sb_world *world;
  char *data;
  size_t *starts;
  size_t bytes;
} exchange;

static sb_status gather(void *context) {
  const exchange *e = context;
  return sb_mpi_allgather_bytes(e->data, e->data + e->starts[e->world->rank], e->starts,
                                e->world->comm);
}

static sb_status reduce(void *context) {
  const exchange *e = context;
  return sb_mpi_sum_i64((int64_t *)e->data, e->bytes / sizeof(int64_t), e->world->comm);
}

sb_status sb_limit_network(const sb_world *world, int rounds, sb_machine *out) {
  static const size_t sizes[SB_NETWORK_SIZES] = {64 << 10, 1 << 20, 16 << 20, 64 << 20};
  const size_t ranks = (size_t)world->size;
  exchange e = {.world = world};
  if (ranks == 1) return SB_OK;
  sb_status status = sb_alloc(&e.data, sizes[SB_NETWORK_SIZES - 1], 1, "messages");
  SB_THEN(sb_alloc(&e.starts, ranks + 1, sizeof *e.starts, "messages"));
  status = sb_world_agree(world, status);
  for (size_t k = 0; k < SB_NETWORK_SIZES && status == SB_OK; k++) {
    double gathered, reduced;
    e.bytes = sizes[k];
    for (size_t r = 0; r <= ranks; r++) e.starts[r] = e.bytes / ranks * r;
    e.starts[ranks] = e.bytes;
    status = sb_time_best(world, rounds, gather, &e, &gathered);
    SB_THEN(sb_time_best(world, rounds, reduce, &e, &reduced));
    if (status != SB_OK) break;
    const double bytes = (double)e.bytes;
    out->network[out->network_count++] =
        (sb_network_figure){bytes, bytes * others(world) / gathered, moved(world, bytes) / reduced};
  }
  sb_free(&e.data);
  sb_free(&e.starts);
  return status;
}

/* ---- sums of device memory ---- */

typedef struct summing {
  sb_device_sums sums;
  int64_t *device;
} summing;

static sb_status sum(void *context) {
  const summing *s = context;
  sb_backend *b = s->sums.backend;
  SB_TRY(sb_device_sums_make(&s->sums, NULL, s->device, SUMS_BYTES / sizeof *s->device));
  return b->op->sync(b, NULL);
}

sb_status sb_limit_sums(const sb_world *world, sb_backend *b, int rounds, sb_machine *out) {
  summing s = {.device = NULL};
  double seconds;
  if (world->size == 1 || b->unified) return SB_OK;
  sb_status status = sb_device_sums_open(world, b, 0, &s.sums);
  SB_THEN(b->op->alloc(b, SUMS_BYTES, "sums", (void **)&s.device));
  SB_THEN(b->op->zero(b, NULL, s.device, SUMS_BYTES));
  status = sb_world_agree(world, status);
  SB_THEN(sb_time_best(world, rounds, sum, &s, &seconds));
  if (status == SB_OK) out->value[SB_FIGURE_SUMS] = moved(world, SUMS_BYTES) / seconds;
  b->op->free(b, s.device);
  sb_device_sums_release(&s.sums);
  return status;
}
