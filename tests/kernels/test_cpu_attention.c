#include "tests/kernels/check.h"

#include <omp.h>
#include <string.h>

#include "tests/kernels/naive.h"

typedef struct problem {
  size_t T, heads, kv_heads, d;
  float scale; /* of q and k: larger makes the soft-max sharper */
} problem;

static const problem problems[] = {
    {1, 1, 1, 1, 1.0f},   {5, 2, 2, 6, 1.0f},    {64, 3, 1, 16, 1.0f},   {65, 4, 2, 20, 2.0f},
    {63, 2, 2, 33, 1.0f}, {130, 9, 3, 64, 1.0f}, {257, 2, 1, 128, 0.5f}, {200, 4, 4, 80, 4.0f},
};

typedef struct data {
  problem p;
  size_t nq, nkv, nl;
  float *q, *k, *v, *o, *lse, *d_o, *dq, *dk, *dv;
  double *q2, *k2, *v2, *do2, *o2, *lse2; /* the same numbers for the naive functions */
} data;

static data make(problem p) {
  data x = {.p = p, .nq = p.T * p.heads * p.d, .nkv = p.T * p.kv_heads * p.d, .nl = p.heads * p.T};
  x.q = check_random(x.nq, p.scale, 1);
  x.k = check_random(x.nkv, p.scale, 2);
  x.v = check_random(x.nkv, 1.0f, 3);
  x.d_o = check_random(x.nq, 1.0f, 4);
  x.o = check_zeros(x.nq);
  x.lse = check_zeros(x.nl);
  x.dq = check_random(x.nq, 1.0f, 5); /* the backward pass overwrites */
  x.dk = check_random(x.nkv, 1.0f, 6);
  x.dv = check_random(x.nkv, 1.0f, 7);
  x.q2 = check_double(x.q, x.nq);
  x.k2 = check_double(x.k, x.nkv);
  x.v2 = check_double(x.v, x.nkv);
  x.do2 = check_double(x.d_o, x.nq);
  x.o2 = check_double_zeros(x.nq);
  x.lse2 = check_double_zeros(x.nl);
  return x;
}

static void forward(sb_backend *be, data *x) {
  assert_ok(be->op->attention(be, NULL,
                              &(sb_attention_args){.q = x->q,
                                                   .k = x->k,
                                                   .v = x->v,
                                                   .o = x->o,
                                                   .lse = x->lse,
                                                   .T = x->p.T,
                                                   .heads = x->p.heads,
                                                   .kv_heads = x->p.kv_heads,
                                                   .d = x->p.d}));
}

static void backward(sb_backend *be, data *x) {
  assert_ok(be->op->attention_back(be, NULL,
                                   &(sb_attention_args){.q = x->q,
                                                        .k = x->k,
                                                        .v = x->v,
                                                        .o = x->o,
                                                        .lse = x->lse,
                                                        .T = x->p.T,
                                                        .heads = x->p.heads,
                                                        .kv_heads = x->p.kv_heads,
                                                        .d = x->p.d},
                                   x->d_o, x->dq, x->dk, x->dv));
}

/* A score is a sum of d products below scale^2 / sqrt(d): rounding moves it by some 1e-6, and a
 * probability by as much relative to itself. Outputs are averages of numbers below 1. */
static void forward_equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
    data x = make(problems[i]);
    forward(be, &x);
    naive_attention(x.o2, x.lse2, x.q2, x.k2, x.v2, x.p.T, x.p.heads, x.p.kv_heads, x.p.d);
    check_close("attention output", x.o, x.o2, x.nq, 1e-5, 1.0);
    check_close("attention lse", x.lse, x.lse2, x.nl, 1e-6, 1.0);
    check_done();
  }
}

/* Gradients of k and v are sums over up to T * group terms of order 1. */
static void backward_equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
    data x = make(problems[i]);
    double *dq = check_double_zeros(x.nq), *dk = check_double_zeros(x.nkv),
           *dv = check_double_zeros(x.nkv);
    forward(be, &x);
    backward(be, &x);
    naive_attention_back(dq, dk, dv, x.do2, x.q2, x.k2, x.v2, x.p.T, x.p.heads, x.p.kv_heads,
                         x.p.d);
    check_close("attention dq", x.dq, dq, x.nq, 2e-5, 1.0);
    check_close("attention dk", x.dk, dk, x.nkv, 2e-5, 1.0);
    check_close("attention dv", x.dv, dv, x.nkv, 2e-5, 1.0);
    check_done();
  }
}

static double loss(void *context) {
  data *x = context;
  double sum = 0.0;
  naive_attention(x->o2, x->lse2, x->q2, x->k2, x->v2, x->p.T, x->p.heads, x->p.kv_heads, x->p.d);
  for (size_t i = 0; i < x->nq; i++) sum += x->do2[i] * x->o2[i];
  return sum;
}

static void backward_equals_finite_differences(void **state) {
  sb_backend *be = *state;
  const problem small[] = {{7, 4, 2, 6, 1.0f}, {67, 2, 1, 4, 1.0f}};
  for (size_t s = 0; s < 2; s++) {
    data x = make(small[s]);
    forward(be, &x);
    backward(be, &x);
    for (size_t i = 0; i < x.nq; i += 1 + x.nq / 60) {
      double slope = check_slope(loss, &x, x.q2, i);
      check_close("dq against a difference", x.dq + i, &slope, 1, 2e-5, 1.0);
    }
    for (size_t i = 0; i < x.nkv; i += 1 + x.nkv / 60) {
      double slope[2] = {check_slope(loss, &x, x.k2, i), check_slope(loss, &x, x.v2, i)};
      check_close("dk against a difference", x.dk + i, &slope[0], 1, 2e-5, 1.0);
      check_close("dv against a difference", x.dv + i, &slope[1], 1, 2e-5, 1.0);
    }
    check_done();
  }
}

static void threads_do_not_change_bits(void **state) {
  sb_backend *be = *state;
  const problem many[] = {{330, 6, 2, 64, 1.0f}, {513, 3, 3, 40, 1.0f}};
  int threads = omp_get_max_threads();
  for (size_t s = 0; s < 2; s++) {
    data x[4];
    for (int t = 1; t <= 3; t++) {
      x[t] = make(many[s]);
      omp_set_num_threads(t);
      forward(be, &x[t]);
      backward(be, &x[t]);
      check_same("o", x[t].o, x[1].o, x[1].nq);
      check_same("lse", x[t].lse, x[1].lse, x[1].nl);
      check_same("dq", x[t].dq, x[1].dq, x[1].nq);
      check_same("dk", x[t].dk, x[1].dk, x[1].nkv);
      check_same("dv", x[t].dv, x[1].dv, x[1].nkv);
    }
    check_done();
  }
  omp_set_num_threads(threads);
}

/* The same sequence gives the same bits after a longer one has used the scratch memory. */
static void earlier_calls_leave_nothing(void **state) {
  sb_backend *be = *state;
  data a = make((problem){70, 2, 1, 24, 1.0f}), b = make((problem){300, 4, 4, 48, 3.0f});
  data c = make((problem){70, 2, 1, 24, 1.0f});
  forward(be, &a), backward(be, &a);
  forward(be, &b), backward(be, &b);
  forward(be, &c), backward(be, &c);
  check_same("o", c.o, a.o, a.nq);
  check_same("dq", c.dq, a.dq, a.nq);
  check_same("dk", c.dk, a.dk, a.nkv);
  check_same("dv", c.dv, a.dv, a.nkv);
  check_done();
}

static int setup(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}

static int teardown(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_equals_naive),
      cmocka_unit_test(backward_equals_naive),
      cmocka_unit_test(backward_equals_finite_differences),
      cmocka_unit_test(threads_do_not_change_bits),
      cmocka_unit_test(earlier_calls_leave_nothing),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
