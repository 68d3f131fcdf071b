/* The dense operations of the CUDA backend against the CPU backend (whose own tests hold it against
 * naive references) and, for matrix products, against the naive one, over odd shapes. Built twice:
 * for the device of this machine (ctest -L gpu; skipped where there is none), and for the stand-in
 * of tests/cuda_host. */
#include <math.h>
#include <string.h>

#include "tests/gpu/device.h"
#include "tests/kernels/naive.h"

static void dropped(void) {
  gpu_drop();
  check_done();
}

/* What the device computed into `device` against the CPU's floats: both sum in f32, in orders of
 * their own. */
static void close_to_cpu(const char *what, const void *device, const float *want, size_t count,
                         double tolerance, double floor) {
  float *got = check_zeros(count);
  gpu_get(got, device, count * sizeof *got);
  check_close(what, got, check_double(want, count), count, tolerance, floor);
}

#define PUT(x, count) gpu_put((x), (count) * sizeof *(x))

static void convert_is_exact(void **state) {
  (void)state;
  const sb_dtype types[] = {SB_F32, SB_F16, SB_BF16};
  const size_t counts[] = {1, 255, 257, 70001};
  for (size_t c = 0; c < 4; c++)
    for (int from = 0; from < 3; from++)
      for (int to = 0; to < 3; to++) {
        const size_t n = counts[c], out = n * sb_dtype_size(types[to]);
        float *x = check_random(n, 3.0f, 1 + c), *source = check_zeros(n);
        x[0] = INFINITY; /* and numbers that fp16 has as subnormal ones, as zero and as infinity */
        if (n > 4) x[1] = 3e-6f, x[2] = 1e-12f, x[3] = 1e6f, x[4] = -0.0f;
        sb_from_f32(source, types[from], x, n);
        char *want = (char *)check_zeros(n), *got = (char *)check_zeros(n);
        assert_ok(cpu->op->convert(cpu, NULL, want, types[to], source, types[from], n));
        void *device = gpu_put(got, n * sizeof(float));
        assert_ok(gpu->op->convert(gpu, NULL, device, types[to], gpu_put(source, n * sizeof(float)),
                                   types[from], n));
        gpu_get(got, device, out);
        assert_memory_equal(got, want, out);
        dropped();
      }
  float x = 0;
  assert_int_equal(gpu->op->convert(gpu, NULL, &x, SB_F32, &x, SB_I8, 1), SB_ERR_UNSUPPORTED);
}

static void gather_is_exact(void **state) {
  (void)state;
  enum { ROWS = 37, COLS = 301 };
  uint32_t rows[ROWS], cols[COLS];
  for (uint32_t i = 0; i < ROWS; i++) rows[i] = (i * 5 + 3) % ROWS;
  for (uint32_t j = 0; j < COLS; j++) cols[j] = (j * 2 + 7) % COLS;
  for (int kind = 0; kind < 8; kind++) {
    const sb_dtype type = kind & 4 ? SB_BF16 : SB_F32;
    const size_t bytes = ROWS * COLS * sb_dtype_size(type);
    float *x = check_random(ROWS * COLS, 1.0f, 2), *want = check_zeros(ROWS * COLS),
          *got = check_zeros(ROWS * COLS);
    assert_ok(cpu->op->gather_matrix(cpu, NULL, want, x, type, ROWS, COLS, kind & 1 ? rows : NULL,
                                     kind & 2 ? cols : NULL));
    void *device = gpu_put(got, bytes);
    assert_ok(gpu->op->gather_matrix(gpu, NULL, device, gpu_put(x, bytes), type, ROWS, COLS,
                                     kind & 1 ? PUT(rows, ROWS) : NULL,
                                     kind & 2 ? PUT(cols, COLS) : NULL));
    gpu_get(got, device, bytes);
    assert_memory_equal(got, want, bytes);
    dropped();
  }
}

typedef struct problem {
  size_t m, n, k, pad;
  bool add;
} problem;

static const problem problems[] = {
    {1, 1, 1, 0, false},  {3, 5, 7, 2, true},     {65, 33, 129, 0, true}, {48, 130, 66, 1, false},
    {17, 40, 0, 3, true}, {1, 257, 64, 0, false}, {31, 8, 0, 4, false},
};

/* Operands of type `a_type` and `b_type` are the numbers they stand for; where the backend
 * multiplies in bf16 they are rounded to it first. A product with a type of its own rounds none,
 * and has factors. Products of 8-bit numbers are exact in f32, so what is left are f32 sums of k
 * terms of up to 1. */
static void multiply(sb_backend *be, bool brain, const problem *p, bool ta, bool tb,
                     sb_dtype a_type, sb_dtype b_type, sb_gemm_type type) {
  static const float factors[2] = {0.75f, -1.25f};
  const bool scaled = type != SB_GEMM_OPERANDS, rounds = brain && !scaled;
  const size_t a_rows = ta ? p->k : p->m, lda = (ta ? p->m : p->k) + p->pad,
               b_rows = tb ? p->n : p->k, ldb = (tb ? p->k : p->n) + p->pad, ldc = p->n + p->pad,
               na = a_rows * lda, nb = b_rows * ldb, nc = p->m * ldc;
  float *a = check_random(na + 1, 1.0f, 3), *b = check_random(nb + 1, 1.0f, 4),
        *c = check_random(nc, 1.0f, 5);
  float *a_typed = check_zeros(na + 1), *b_typed = check_zeros(nb + 1),
        *exact_a = check_zeros(na + 1), *exact_b = check_zeros(nb + 1);
  sb_from_f32(a_typed, a_type, a, na);
  sb_from_f32(b_typed, b_type, b, nb);
  sb_to_f32(exact_a, a_typed, a_type, na);
  sb_to_f32(exact_b, b_typed, b_type, nb);
  for (size_t i = 0; rounds && i < na; i++) exact_a[i] = sb_bf16_to_f32(sb_f32_to_bf16(exact_a[i]));
  for (size_t i = 0; rounds && i < nb; i++) exact_b[i] = sb_bf16_to_f32(sb_f32_to_bf16(exact_b[i]));
  double *want = check_double(c, nc);
  naive_gemm(ta, tb, p->m, p->n, p->k, scaled ? 0.75 * -1.25 : 1.0, check_double(exact_a, na), lda,
             check_double(exact_b, nb), ldb, p->add ? 1.0 : 0.0, want, ldc);
  void *device = PUT(c, nc);
  const sb_matrix_view view_a = {PUT(a_typed, na + 1), a_type, lda, ta},
                       view_b = {PUT(b_typed, nb + 1), b_type, ldb, tb};
  sb_gemm_args g = {p->m,   p->n, p->k,   view_a, view_b, device,
                    SB_F32, ldc,  p->add, type,   NULL,   NULL};
  if (scaled) g.scale_a = PUT(factors, 1), g.scale_b = PUT(factors + 1, 1);
  assert_ok(be->op->gemm(be, NULL, &g));
  gpu_get(c, device, nc * sizeof *c); /* the padding of C, too, must be as it was */
  check_close("gemm", c, want, nc, 1e-6 * (double)(p->k + 1), 1.0);
  dropped();
}

static void gemm_equals_naive(void **state) {
  sb_backend *f32 = gpu;
  (void)state;
  for (int brain = 0; brain < 2; brain++) {
    sb_backend *be;
    assert_ok(sb_cuda_create(brain ? SB_COMPUTE_BF16 : SB_COMPUTE_F32, 0, "a test", &be));
    gpu = be; /* put and get */
    for (size_t i = 0; i < 4 * (sizeof problems / sizeof *problems); i++) {
      const problem *p = &problems[i / 4];
      const bool ta = i & 1, tb = i & 2;
      multiply(be, brain, p, ta, tb, SB_F32, SB_F32, SB_GEMM_OPERANDS);
      multiply(be, brain, p, ta, tb, SB_F32, SB_BF16, SB_GEMM_OPERANDS);
      multiply(be, brain, p, ta, tb, SB_F16, SB_BF16, SB_GEMM_OPERANDS);
      multiply(be, brain, p, ta, tb, SB_F32, SB_BF16, SB_GEMM_F32);
      multiply(be, brain, p, ta, tb, SB_BF16, SB_BF16, SB_GEMM_BF16);
    }
    gpu = f32;
    be->op->destroy(be);
  }
}

static void gemm_refuses(void **state) {
  (void)state;
  float *x = PUT(check_zeros(4), 4);
  const sb_matrix_view square = sb_view(x, SB_F32, 2);
  sb_gemm_args g = {2, 2, 2, square, square, x, SB_BF16, 2, false, SB_GEMM_OPERANDS, NULL, NULL};
  assert_int_equal(gpu->op->gemm(gpu, NULL, &g), SB_ERR_UNSUPPORTED);
  g.c_dtype = SB_F32;
  g.a.ld = 1;
  assert_int_equal(gpu->op->gemm(gpu, NULL, &g), SB_ERR_INTERNAL);
  dropped();
}

static const size_t rows_of[][2] = {{1, 1}, {3, 31}, {65, 96}, {33, 257}, {2, 1030}};
enum { SHAPES = sizeof rows_of / sizeof *rows_of };

static void rmsnorm_equals_cpu(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++) {
    const size_t T = rows_of[i][0], h = rows_of[i][1], n = T * h;
    float *x = check_random(n, 2.0f, 1), *w = check_random(h, 1.0f, 2),
          *dy = check_random(n, 1.0f, 3), *dx = check_random(n, 1.0f, 4),
          *dw = check_random(h, 1.0f, 5), *y = check_zeros(n), *rstd = check_zeros(T);
    float *gx = PUT(x, n), *gw = PUT(w, h), *gdy = PUT(dy, n), *gdx = PUT(dx, n), *gdw = PUT(dw, h),
          *gy = PUT(y, n), *grstd = PUT(rstd, T);
    assert_ok(cpu->op->rmsnorm(cpu, NULL, y, rstd, x, w, T, h, 1e-5f));
    assert_ok(gpu->op->rmsnorm(gpu, NULL, gy, grstd, gx, gw, T, h, 1e-5f));
    close_to_cpu("rmsnorm", gy, y, n, 1e-5, 1.0);
    close_to_cpu("rstd", grstd, rstd, T, 1e-5, 0.0);
    for (int with = 0; with < 2; with++) {
      assert_ok(cpu->op->rmsnorm_back(cpu, NULL, dx, with ? dw : NULL, dy, x, w, rstd, T, h));
      assert_ok(gpu->op->rmsnorm_back(gpu, NULL, gdx, with ? gdw : NULL, gdy, gx, gw, grstd, T, h));
      close_to_cpu("rmsnorm dx", gdx, dx, n, 1e-4, 1.0);
      close_to_cpu("rmsnorm dw", gdw, dw, h, 1e-4, 1.0);
    }
    dropped();
  }
}

static void rope_equals_cpu(void **state) {
  (void)state;
  const size_t shapes[][3] = {{1, 1, 2}, {5, 3, 6}, {41, 4, 64}};
  for (size_t i = 0; i < 3; i++)
    for (int inverse = 0; inverse < 2; inverse++) {
      const size_t T = shapes[i][0], n = T * shapes[i][1] * shapes[i][2], angles = T * shapes[i][2];
      float *x = check_random(n, 1.0f, 1), *table = check_random(angles, 1.0f, 2), *gx = PUT(x, n);
      assert_ok(cpu->op->rope(cpu, NULL, x, table, T, shapes[i][1], shapes[i][2], inverse));
      assert_ok(
          gpu->op->rope(gpu, NULL, gx, PUT(table, angles), T, shapes[i][1], shapes[i][2], inverse));
      close_to_cpu("rope", gx, x, n, 1e-6, 1.0);
      dropped();
    }
}

static void swiglu_and_add_equal_cpu(void **state) {
  (void)state;
  const size_t counts[] = {1, 257, 20011};
  for (size_t i = 0; i < 3; i++) {
    const size_t n = counts[i];
    float *gate = check_random(n, 8.0f, 1), *up = check_random(n, 1.0f, 2),
          *dy = check_random(n, 1.0f, 3);
    float *ggate = PUT(gate, n), *gup = PUT(up, n), *gdy = PUT(dy, n), *y = check_zeros(n),
          *gy = PUT(y, n);
    assert_ok(cpu->op->swiglu(cpu, NULL, y, gate, up, n));
    assert_ok(gpu->op->swiglu(gpu, NULL, gy, ggate, gup, n));
    close_to_cpu("swiglu", gy, y, n, 2e-6, 1.0);
    assert_ok(cpu->op->add(cpu, NULL, y, up, n));
    assert_ok(gpu->op->add(gpu, NULL, gy, gup, n));
    close_to_cpu("add", gy, y, n, 2e-6, 1.0);
    /* in place, as pass/layer.c calls it: dgate over gate, dup and y over dy and up */
    assert_ok(cpu->op->swiglu_back(cpu, NULL, gate, up, dy, dy, gate, up, n));
    assert_ok(gpu->op->swiglu_back(gpu, NULL, ggate, gup, gdy, gdy, ggate, gup, n));
    close_to_cpu("dgate", ggate, gate, n, 4e-6, 1.0);
    close_to_cpu("dup", gup, up, n, 4e-6, 1.0);
    close_to_cpu("swiglu again", gdy, dy, n, 4e-6, 1.0);
    dropped();
  }
}

static void expect_rounded(const char *what, const void *got_dev, const void *exact_dev, size_t n) {
  float *x = check_zeros(n);
  uint16_t *want = (uint16_t *)check_zeros(n / 2 + 1), *got = (uint16_t *)check_zeros(n / 2 + 1);
  gpu_get(x, exact_dev, n * sizeof *x);
  gpu_get(got, got_dev, n * sizeof *got);
  sb_from_f32(want, SB_BF16, x, n);
  if (memcmp(got, want, n * sizeof *got) != 0) fail_msg("%s: not the float results, rounded", what);
}

/* Results that are operands, where these are bf16: those in float, rounded. */
static void operands_are_rounded(void **state) {
  enum { T = 33, H = 257, N = T * H };
  (void)state;
  const float *zero = check_zeros(N);
  const float *x = PUT(check_random(N, 2.0f, 1), N), *up = PUT(check_random(N, 1.0f, 2), N),
              *dy = PUT(check_random(N, 1.0f, 3), N), *w = PUT(check_random(H, 1.0f, 4), H);
  void *out[2][5];
  for (int brain = 0; brain < 2; brain++) {
    void **y = out[brain], *rstd = PUT(zero, T);
    for (int i = 0; i < 5; i++) y[i] = PUT(zero, N);
    gpu->operand = brain ? SB_BF16 : SB_F32;
    const sb_status norm = gpu->op->rmsnorm(gpu, NULL, y[0], rstd, x, w, T, H, 1e-5f),
                    gated = gpu->op->swiglu(gpu, NULL, y[1], x, up, N),
                    back = gpu->op->swiglu_back(gpu, NULL, y[2], y[3], y[4], dy, x, up, N);
    gpu->operand = SB_F32;
    assert_true(norm == SB_OK && gated == SB_OK && back == SB_OK);
  }
  for (int i = 0; i < 5; i++) expect_rounded("result", out[1][i], out[0][i], N);
  dropped();
}

static void embedding_equals_cpu(void **state) {
  (void)state;
  enum { T = 23, H = 70, V0 = 10, NV = 9 };
  uint32_t ids[T];
  for (uint32_t t = 0; t < T; t++)
    ids[t] = 5 + t * 7 % 20; /* some before the chunk, some after, some twice */
  for (int kind = 0; kind < 3; kind++) {
    const sb_dtype type = kind == 0 ? SB_F32 : kind == 1 ? SB_F16 : SB_BF16;
    float *table = check_random(NV * H, 1.0f, 1), *x = check_random(T * H, 1.0f, 2),
          *back = check_random(NV * H, 1.0f, 3);
    float *typed = check_zeros(NV * H), *gx = PUT(x, T * H), *gback = PUT(back, NV * H);
    uint32_t *gids = PUT(ids, T);
    sb_from_f32(typed, type, table, NV * H);
    assert_ok(cpu->op->embed(cpu, NULL, x, ids, typed, type, T, H, V0, NV));
    assert_ok(gpu->op->embed(gpu, NULL, gx, gids, PUT(typed, NV * H), type, T, H, V0, NV));
    close_to_cpu("embed", gx, x, T * H, 0.0, 1.0);
    assert_ok(cpu->op->embed_back(cpu, NULL, back, ids, x, T, H, V0, NV));
    assert_ok(gpu->op->embed_back(gpu, NULL, gback, gids, gx, T, H, V0, NV));
    close_to_cpu("embed_back", gback, back, NV * H, 0.0, 1.0); /* the same order of sums */
    dropped();
  }
}

/* |got - want| < 1e-4 (1 + relative |want|) */
static void close_in_double(const double *got_dev, const double *want, size_t n, double relative) {
  double *got = check_double_zeros(n);
  gpu_get(got, got_dev, n * sizeof *got);
  for (size_t i = 0; i < n; i++)
    assert_true(fabs(got[i] - want[i]) < 1e-4 * (1.0 + relative * fabs(want[i])));
}

/* A chunk of nv columns from v0 on. */
static float *columns_of(const float *logits, size_t T, size_t vocab, size_t v0, size_t nv) {
  float *chunk = check_zeros(T * nv);
  for (size_t t = 0; t < T; t++)
    memcpy(chunk + t * nv, logits + t * vocab + v0, nv * sizeof *chunk);
  return chunk;
}

static void cross_entropy_equals_cpu(void **state) {
  (void)state;
  enum { T = 19, VOCAB = 700 };
  float *logits = check_random(T * VOCAB, 12.0f, 1), *other = check_random(T * VOCAB, 12.0f, 2);
  float *high = check_zeros(T), *sum = check_zeros(T), *target = check_zeros(T),
        *lse = check_zeros(T);
  uint32_t targets[T], best[T] = {0}, got[T];
  double kl[T] = {0};
  for (uint32_t t = 0; t < T; t++) targets[t] = t % 5 == 2 ? SB_NO_TARGET : t * 131u % VOCAB;
  logits[3 * VOCAB + 17] = logits[3 * VOCAB + 650] =
      50.0f; /* a tie across chunks: the first one counts */
  float *ghigh = PUT(high, T), *gsum = PUT(sum, T), *gtarget = PUT(target, T);
  uint32_t *gtargets = PUT(targets, T), *gbest = PUT(best, T);
  double *gkl = PUT(kl, T);
  assert_ok(cpu->op->xent_begin(cpu, NULL, high, sum, target, best, T));
  assert_ok(gpu->op->xent_begin(gpu, NULL, ghigh, gsum, gtarget, gbest, T));
  const size_t cuts[] = {0, 1, 300, 557, VOCAB};
  for (int pass = 0; pass < 2; pass++)
    for (size_t c = 0; c + 1 < sizeof cuts / sizeof *cuts; c++) {
      const size_t v0 = cuts[c], nv = cuts[c + 1] - v0;
      float *chunk = columns_of(logits, T, VOCAB, v0, nv),
            *theirs = columns_of(other, T, VOCAB, v0, nv);
      float *gchunk = PUT(chunk, T * nv);
      if (pass == 0) {
        assert_ok(
            cpu->op->xent_chunk(cpu, NULL, high, sum, target, best, chunk, targets, T, v0, nv));
        assert_ok(gpu->op->xent_chunk(gpu, NULL, ghigh, gsum, gtarget, gbest, gchunk, gtargets, T,
                                      v0, nv));
        continue;
      }
      for (size_t t = 0; t < T; t++) lse[t] = high[t] + logf(sum[t]);
      float *glse = PUT(lse, T);
      assert_ok(cpu->op->kl_chunk(cpu, NULL, kl, chunk, lse, theirs, lse, T, nv));
      assert_ok(gpu->op->kl_chunk(gpu, NULL, gkl, gchunk, glse, PUT(theirs, T * nv), glse, T, nv));
      float *slope = check_zeros(T * nv);
      memcpy(slope, chunk, T * nv * sizeof *slope);
      float *gslope = PUT(slope, T * nv);
      assert_ok(cpu->op->kl_back_chunk(cpu, NULL, slope, lse, theirs, lse, targets, 0.25f, T, nv));
      assert_ok(gpu->op->kl_back_chunk(gpu, NULL, gslope, glse, PUT(theirs, T * nv), glse, gtargets,
                                       0.25f, T, nv));
      close_to_cpu("dlogits of a divergence", gslope, slope, T * nv, 2e-6, 1.0);
      assert_ok(cpu->op->xent_back_chunk(cpu, NULL, chunk, lse, targets, 0.25f, T, v0, nv));
      assert_ok(gpu->op->xent_back_chunk(gpu, NULL, gchunk, glse, gtargets, 0.25f, T, v0, nv));
      close_to_cpu("dlogits", gchunk, chunk, T * nv, 2e-6, 1.0);
      if (c + 2 < sizeof cuts / sizeof *cuts) continue;
      close_in_double(gkl, kl, T, 1.0);
    }
  close_to_cpu("largest", ghigh, high, T, 0.0, 0.0);
  close_to_cpu("sum", gsum, sum, T, 1e-5, 0.0);
  float *glse = PUT(lse, T);
  double nll[T], *gnll = PUT(kl, T);
  assert_ok(cpu->op->xent_end(cpu, NULL, lse, nll, high, sum, target, targets, T));
  assert_ok(gpu->op->xent_end(gpu, NULL, glse, gnll, ghigh, gsum, gtarget, gtargets, T));
  close_to_cpu("lse", glse, lse, T, 1e-6, 1.0);
  close_in_double(gnll, nll, T, 0.0);
  close_to_cpu("target", gtarget, target, T, 0.0, 1.0);
  gpu_get(got, gbest, sizeof got);
  assert_memory_equal(got, best, sizeof got);
  dropped();
}

/* The same call again gives the same bits: nothing depends on which thread came first. */
static void again_is_the_same(void **state) {
  (void)state;
  enum { T = 67, H = 515 };
  float *x = check_random(T * H, 1.0f, 1), *w = check_random(H, 1.0f, 2), *gx = PUT(x, T * H),
        *gw = PUT(w, H);
  float *zero = check_zeros(T * H), *first = NULL;
  for (int round = 0; round < 3; round++) {
    float *y = PUT(zero, T * H), *rstd = PUT(zero, T), *dx = PUT(zero, T * H), *dw = PUT(zero, H),
          *product = PUT(zero, T * T);
    float *all = check_zeros(2 * T * H + H + T * T);
    assert_ok(gpu->op->rmsnorm(gpu, NULL, y, rstd, gx, gw, T, H, 1e-5f));
    assert_ok(gpu->op->rmsnorm_back(gpu, NULL, dx, dw, y, gx, gw, rstd, T, H));
    assert_ok(gpu->op->gemm(gpu, NULL,
                            &(sb_gemm_args){.m = T,
                                            .n = T,
                                            .k = H,
                                            .a = sb_view(y, SB_F32, H),
                                            .b = sb_view_transposed(dx, SB_F32, H),
                                            .c = product,
                                            .c_dtype = SB_F32,
                                            .ldc = T}));
    gpu_get(all, y, T * H * sizeof *all);
    gpu_get(all + T * H, dx, T * H * sizeof *all);
    gpu_get(all + 2 * T * H, dw, H * sizeof *all);
    gpu_get(all + 2 * T * H + H, product, T * T * sizeof *all);
    if (first) check_same("again", all, first, 2 * T * H + H + T * T);
    first = all;
  }
  dropped();
}

/* A second stream sees what it was told to wait for, scratch memory included. */
static void streams_wait(void **state) {
  (void)state;
  enum { N = 1 << 16 };
  sb_stream other;
  float *host, *x, *y, *ones = check_zeros(N), *got = check_zeros(N);
  for (size_t i = 0; i < N; i++) ones[i] = 1.0f;
  assert_ok(gpu->op->stream_create(gpu, &other));
  assert_ok(gpu->op->host_alloc(gpu, N * sizeof *host, "pinned", (void **)&host));
  memcpy(host, ones, N * sizeof *host);
  x = PUT(got, N);
  y = PUT(got, N);
  for (int round = 0; round < 5; round++) {
    assert_ok(gpu->op->upload(gpu, other, x, host, N * sizeof *host));
    assert_ok(gpu->op->stream_wait(gpu, NULL, other));
    assert_ok(gpu->op->add(gpu, NULL, y, x, N));
    assert_ok(gpu->op->stream_wait(gpu, other, NULL));
    assert_ok(gpu->op->zero(gpu, other, x, N * sizeof *host));
  }
  gpu_get(got, y, N * sizeof *got);
  for (size_t i = 0; i < N; i++) assert_true(got[i] == 5.0f);
  assert_ok(gpu->op->sync(gpu, other));
  gpu->op->stream_destroy(gpu, other);
  gpu->op->host_free(gpu, host);
  dropped();
}

static void too_much_memory_is_an_error(void **state) {
  (void)state;
  void *out = gpu;
  float one = 1.0f, got = 0.0f;
  assert_int_equal(gpu->op->alloc(gpu, (size_t)1 << 46, "a model of nobody", &out), SB_ERR_MEMORY);
  assert_non_null(strstr(sb_message(), "65536.000 GiB for a model of nobody"));
  assert_non_null(strstr(sb_message(), "--activation-memory"));
  assert_null(out);
  gpu_get(&got, gpu_put(&one, sizeof one), sizeof one); /* and all goes on */
  assert_true(got == 1.0f);
  dropped();
}

static void describes_itself(void **state) {
  (void)state;
  assert_string_equal(gpu->name, "cuda");
  assert_int_equal(gpu->act, SB_F32);
  assert_int_equal(gpu->operand, SB_F32);
  assert_false(gpu->unified);
  assert_true(gpu->free_bytes > (size_t)1 << 28);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(describes_itself),
      cmocka_unit_test(convert_is_exact),
      cmocka_unit_test(gather_is_exact),
      cmocka_unit_test(gemm_equals_naive),
      cmocka_unit_test(gemm_refuses),
      cmocka_unit_test(rmsnorm_equals_cpu),
      cmocka_unit_test(rope_equals_cpu),
      cmocka_unit_test(swiglu_and_add_equal_cpu),
      cmocka_unit_test(operands_are_rounded),
      cmocka_unit_test(embedding_equals_cpu),
      cmocka_unit_test(cross_entropy_equals_cpu),
      cmocka_unit_test(again_is_the_same),
      cmocka_unit_test(streams_wait),
      cmocka_unit_test(too_much_memory_is_an_error),
  };
  return GPU_RUN(tests, GPU_F32);
}
