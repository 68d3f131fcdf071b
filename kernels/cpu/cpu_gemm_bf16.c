/* bf16 products as oneDNN primitives. Making a primitive takes long, so each shape is prepared once
 * and kept. Tiles run in parallel, each by one thread, so that the order of sums is fixed. */
#include "kernels/cpu/cpu_gemm_bf16.h"

#ifdef SB_HAVE_ONEDNN

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>

#include "base/memory.h"
#include "kernels/cpu/cpu_gemm_tile.h"

enum { TARGET_M = 256, TARGET_N = 576 };

typedef enum role { SOURCE, WEIGHTS, RESULT, SCRATCH, ROLES } role;

/* Products with equal keys share a primitive. */
typedef struct product_key {
  bool trans_a, trans_b, add;
  size_t m, n, k, lda, ldb, ldc;
} product_key;

typedef struct product {
  product_key key;
  dnnl_primitive_t primitive;
  dnnl_memory_desc_t desc[ROLES];
  dnnl_memory_t *memory; /* [threads][ROLES] */
  int threads;
} product;

/* Memory of each thread's own. */
typedef struct thread_room {
  char *data; /* [threads][bytes] */
  size_t bytes;
  int threads;
} thread_room;

struct sb_cpu_bf16 {
  dnnl_engine_t engine;
  dnnl_stream_t *streams; /* [threads] */
  int threads;
  product **products;
  size_t count, capacity;
  thread_room scratch;
  thread_room tiles; /* results that are scaled before they are added */
};

/* At least `bytes` for each of `threads` threads; what was there is lost. */
static sb_status thread_room_for(thread_room *room, int threads, size_t bytes) {
  if (room->bytes >= bytes && room->threads >= threads) return SB_OK;
  const size_t each = sb_max_size(room->bytes, bytes);
  room->threads = 0; /* until there is memory */
  sb_free(&room->data);
  SB_TRY(sb_alloc_raw(&room->data, each, (size_t)threads, "scratch memory of bf16 GEMMs"));
  room->bytes = each;
  room->threads = threads;
  return SB_OK;
}
static void *thread_room_at(const thread_room *room, int thread) {
  return room->data + (size_t)thread * room->bytes;
}

static sb_status check(dnnl_status_t result, const char *what) {
  if (result == dnnl_success) return SB_OK;
  if (result == dnnl_unimplemented)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "oneDNN has no bf16 %s for this processor; use --compute f32", what);
  if (result == dnnl_out_of_memory)
    return sb_fail(SB_ERR_MEMORY, "oneDNN: no memory for a %s", what);
  return sb_fail(SB_ERR_INTERNAL, "oneDNN: %s failed with status %d", what, (int)result);
}

static void product_free(product *p) {
  if (!p) return;
  for (int i = 0; p->memory && i < p->threads * ROLES; i++)
    if (p->memory[i]) dnnl_memory_destroy(p->memory[i]);
  if (p->primitive) dnnl_primitive_destroy(p->primitive);
  free(p->memory);
  free(p);
}

/* ---- preparing a product ---- */

/* oneDNN attributes: scratch memory comes from the caller, and the result adds to C if key->add. */
static sb_status attributes(const product_key *key, dnnl_primitive_attr_t attr) {
  SB_TRY(check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
               "matrix product"));
  if (key->add) {
    dnnl_post_ops_t after = NULL;
    SB_TRY(check(dnnl_post_ops_create(&after), "matrix product"));
    dnnl_status_t result = dnnl_post_ops_append_sum(after, 1.0f);
    if (result == dnnl_success) result = dnnl_primitive_attr_set_post_ops(attr, after);
    dnnl_post_ops_destroy(after);
    SB_TRY(check(result, "matrix product"));
  }
  return SB_OK;
}

static dnnl_status_t describe(dnnl_memory_desc_t *desc, size_t rows, size_t cols, bool transposed,
                              size_t ld, dnnl_data_type_t type) {
  dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)cols};
  dnnl_dims_t strides = {transposed ? 1 : (dnnl_dim_t)ld, transposed ? (dnnl_dim_t)ld : 1};
  return dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides);
}

/* Prepares the product of p->key. oneDNN plans for the number of threads that OpenMP offers at this
 * moment. It is set to one, so that plan and order of sums do not depend on the caller. */
static sb_status product_prepare(sb_cpu_bf16 *bf16, product *p) {
  const product_key *key = &p->key;
  dnnl_matmul_desc_t matmul;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t desc = NULL;
  sb_status status;
  int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  SB_GO(check(describe(&p->desc[SOURCE], key->m, key->k, key->trans_a, key->lda, dnnl_bf16),
              "matrix product"));
  SB_GO(check(describe(&p->desc[WEIGHTS], key->k, key->n, key->trans_b, key->ldb, dnnl_bf16),
              "matrix product"));
  SB_GO(check(describe(&p->desc[RESULT], key->m, key->n, false, key->ldc, dnnl_f32),
              "matrix product"));
  SB_GO(check(
      dnnl_matmul_desc_init(&matmul, &p->desc[SOURCE], &p->desc[WEIGHTS], NULL, &p->desc[RESULT]),
      "matrix product"));
  SB_GO(check(dnnl_primitive_attr_create(&attr), "matrix product"));
  SB_GO(attributes(key, attr));
  SB_GO(check(dnnl_primitive_desc_create(&desc, &matmul, attr, bf16->engine, NULL),
              "matrix product"));
  p->desc[SCRATCH] = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
  SB_GO(check(dnnl_primitive_create(&p->primitive, desc), "matrix product"));
done:
  if (desc) dnnl_primitive_desc_destroy(desc);
  if (attr) dnnl_primitive_attr_destroy(attr);
  omp_set_num_threads(threads);
  return status;
}

static bool same_key(const product_key *x, const product_key *y) {
  return x->trans_a == y->trans_a && x->trans_b == y->trans_b && x->add == y->add && x->m == y->m &&
         x->n == y->n && x->k == y->k && x->lda == y->lda && x->ldb == y->ldb && x->ldc == y->ldc;
}

/* The prepared product of `key`, from the list or new. A model has some tens of shapes, so the list
 * is searched one by one. */
static sb_status product_get(sb_cpu_bf16 *bf16, const product_key *key, product **out) {
  for (size_t i = 0; i < bf16->count; i++)
    if (same_key(&bf16->products[i]->key, key)) {
      *out = bf16->products[i];
      return SB_OK;
    }
  if (bf16->count == bf16->capacity) {
    size_t capacity = bf16->capacity ? 2 * bf16->capacity : 64;
    product **grown = realloc(bf16->products, capacity * sizeof *grown);
    if (!grown) return sb_fail(SB_ERR_MEMORY, "list of %zu prepared bf16 GEMMs", capacity);
    bf16->products = grown;
    bf16->capacity = capacity;
  }
  product *p = calloc(1, sizeof *p);
  if (!p) return sb_fail(SB_ERR_MEMORY, "a prepared bf16 GEMM");
  p->key = *key;
  sb_status status = product_prepare(bf16, p);
  if (status != SB_OK) {
    product_free(p);
    return status;
  }
  bf16->products[bf16->count++] = p;
  *out = p;
  return SB_OK;
}

/* Makes memory objects, streams and scratch for `threads` threads; none of them can be shared. */
static sb_status product_threads(sb_cpu_bf16 *bf16, product *p, int threads) {
  if (p->threads < threads) {
    dnnl_memory_t *grown = realloc(p->memory, (size_t)threads * ROLES * sizeof *grown);
    if (!grown)
      return sb_fail(SB_ERR_MEMORY, "memory objects of a bf16 GEMM for %d threads", threads);
    p->memory = grown;
    for (int i = p->threads * ROLES; i < threads * ROLES; i++) p->memory[i] = NULL;
    int first = p->threads;
    p->threads = threads;
    for (int i = first * ROLES; i < threads * ROLES; i++)
      SB_TRY(check(
          dnnl_memory_create(&p->memory[i], &p->desc[i % ROLES], bf16->engine, DNNL_MEMORY_NONE),
          "memory object"));
  }
  if (bf16->threads < threads) {
    dnnl_stream_t *grown = realloc(bf16->streams, (size_t)threads * sizeof *grown);
    if (!grown) return sb_fail(SB_ERR_MEMORY, "oneDNN streams for %d threads", threads);
    bf16->streams = grown;
    for (; bf16->threads < threads; bf16->threads++)
      SB_TRY(check(dnnl_stream_create(&bf16->streams[bf16->threads], bf16->engine,
                                      dnnl_stream_default_flags),
                   "stream"));
  }
  size_t need = (dnnl_memory_desc_get_size(&p->desc[SCRATCH]) + 4095) & ~(size_t)4095;
  return thread_room_for(&bf16->scratch, threads, need);
}

/* ---- running it ---- */

/* C = alpha tile, or += if `add`. oneDNN can scale too, but with a factor that it learns at the
 * call it takes some 6 ns per element. */
static void scale_tile(float *c, size_t ldc, const float *tile, size_t ld, size_t rows, size_t cols,
                       float alpha, bool add) {
  for (size_t i = 0; i < rows; i++) {
    float *to = c + i * ldc;
    const float *from = tile + i * ld;
    if (add)
      for (size_t j = 0; j < cols; j++) to[j] += alpha * from[j];
    else
      for (size_t j = 0; j < cols; j++) to[j] = alpha * from[j];
  }
}

static dnnl_status_t product_run(const sb_cpu_bf16 *bf16, const product *p, int thread,
                                 const uint16_t *a, const uint16_t *b, float *c) {
  const dnnl_memory_t *memory = p->memory + (size_t)thread * ROLES;
  void *data[ROLES] = {(void *)(uintptr_t)a, (void *)(uintptr_t)b, c,
                       thread_room_at(&bf16->scratch, thread)};
  static const int slot[ROLES] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST,
                                  DNNL_ARG_SCRATCHPAD};
  dnnl_exec_arg_t args[ROLES];
  for (int i = 0; i < ROLES; i++) {
    dnnl_status_t result = dnnl_memory_set_data_handle(memory[i], data[i]);
    if (result != dnnl_success) return result;
    args[i] = (dnnl_exec_arg_t){slot[i], memory[i]};
  }
  return dnnl_primitive_execute(p->primitive, bf16->streams[thread], ROLES, args);
}

/* The cut of C, and the products of its tiles: the last row and column of tiles have sizes of their
 * own. */
typedef struct plan {
  sb_gemm_cut cut;
  product *kinds[2][2]; /* [last row of tiles][last column] */
} plan;

static sb_status make_plan(sb_cpu_bf16 *bf16, int threads, const sb_gemm_args *g, bool aside,
                           plan *out) {
  const sb_gemm_cut cut = sb_gemm_cut_of(g->m, g->n, TARGET_M, TARGET_N);
  const size_t last_m = g->m - (cut.count_m - 1) * cut.tile_m,
               last_n = g->n - (cut.count_n - 1) * cut.tile_n;
  out->cut = cut;
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) {
      product_key key = {g->a.transposed,
                         g->b.transposed,
                         g->add && !aside,
                         i || cut.count_m == 1 ? last_m : cut.tile_m,
                         j || cut.count_n == 1 ? last_n : cut.tile_n,
                         g->k,
                         g->a.ld,
                         g->b.ld,
                         aside ? cut.tile_n : g->ldc};
      SB_TRY(product_get(bf16, &key, &out->kinds[i][j]));
    }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) SB_TRY(product_threads(bf16, out->kinds[i][j], threads));
  return aside ? thread_room_for(&bf16->tiles, threads, cut.tile_m * cut.tile_n * sizeof(float))
               : SB_OK;
}

sb_status sb_cpu_bf16_gemm(sb_cpu_bf16 *bf16, int threads, const sb_gemm_args *g, float alpha) {
  const uint16_t *a = g->a.data, *b = g->b.data;
  const size_t lda = g->a.ld, ldb = g->b.ld;
  const bool scaled = alpha != 1.0f, aside = scaled && g->add;
  plan p;
  SB_TRY(make_plan(bf16, threads, g, aside, &p));
  const sb_gemm_cut cut = p.cut;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(max : failed)
  {
    omp_set_num_threads(1); /* for this implicit task: oneDNN opens no region inside */
#pragma omp for schedule(dynamic, 1)
    for (size_t tile = 0; tile < cut.count_m * cut.count_n; tile++) {
      size_t row = tile / cut.count_n, col = tile % cut.count_n, i = row * cut.tile_m,
             j = col * cut.tile_n;
      const product *kind = p.kinds[row + 1 == cut.count_m][col + 1 == cut.count_n];
      const int thread = omp_get_thread_num();
      float *to = (float *)g->c + i * g->ldc + j,
            *out = aside ? thread_room_at(&bf16->tiles, thread) : to;
      dnnl_status_t result = product_run(bf16, kind, thread, a + (g->a.transposed ? i : i * lda),
                                         b + (g->b.transposed ? j * ldb : j), out);
      if (scaled)
        scale_tile(to, g->ldc, out, aside ? cut.tile_n : g->ldc, kind->key.m, kind->key.n, alpha,
                   g->add);
      if ((int)result > failed) failed = (int)result;
    }
  }
  return check((dnnl_status_t)failed, "matrix product");
}

/* ---- life cycle ---- */

void sb_cpu_bf16_free(sb_cpu_bf16 *bf16) {
  if (!bf16) return;
  for (size_t i = 0; i < bf16->count; i++) product_free(bf16->products[i]);
  free(bf16->products);
  for (int i = 0; i < bf16->threads; i++) dnnl_stream_destroy(bf16->streams[i]);
  free(bf16->streams);
  if (bf16->engine) dnnl_engine_destroy(bf16->engine);
  sb_free(&bf16->scratch.data);
  sb_free(&bf16->tiles.data);
  free(bf16);
}

sb_status sb_cpu_bf16_create(sb_cpu_bf16 **out) {
  *out = NULL;
  sb_cpu_bf16 *bf16 = calloc(1, sizeof *bf16);
  if (!bf16) return sb_fail(SB_ERR_MEMORY, "state of bf16 GEMMs");
  product_key probe = {false, true, false, 16, 16, 16, 16, 16, 16};
  product *unused;
  sb_status status = check(dnnl_engine_create(&bf16->engine, dnnl_cpu, 0), "engine");
  if (status == SB_OK)
    status = product_get(bf16, &probe, &unused); /* fails now, not mid-run, without support */
  if (status != SB_OK) {
    sb_cpu_bf16_free(bf16);
    return status;
  }
  *out = bf16;
  return SB_OK;
}

#else

sb_status sb_cpu_bf16_create(sb_cpu_bf16 **out) {
  *out = NULL;
  return sb_fail(
      SB_ERR_UNSUPPORTED,
      "bf16 GEMMs need oneDNN, which this build lacks; use --compute f32 or build with it");
}

void sb_cpu_bf16_free(sb_cpu_bf16 *bf16) {
  (void)bf16;
}

sb_status sb_cpu_bf16_gemm(sb_cpu_bf16 *bf16, int threads, const sb_gemm_args *g, float alpha) {
  (void)bf16, (void)threads, (void)g, (void)alpha;
  return sb_fail(SB_ERR_UNSUPPORTED, "bf16 GEMMs need oneDNN, which this build lacks");
}

#endif
