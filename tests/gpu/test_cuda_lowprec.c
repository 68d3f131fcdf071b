/* Rounding to low precision on a device and on the processor, whose own tests hold it against
 * tables and ml_dtypes: the same bits for every precision, operand, GEMM and type. */
#include <math.h>
#include <string.h>

#include "tests/gpu/device.h"

#ifdef SB_ON_STAND_IN
enum { LARGE_ROWS = 144, LARGE_COLS = 272 };
#else
enum { LARGE_ROWS = 2064, LARGE_COLS = 4112 };
#endif

static const sb_dtype types[] = {SB_F32, SB_BF16, SB_F16};

/* NaN has many payloads. */
static void same(const char *what, const void *got, const void *want, sb_dtype type, size_t count) {
  float *a = check_zeros(count), *b = check_zeros(count);
  sb_to_f32(a, got, type, count);
  sb_to_f32(b, want, type, count);
  for (size_t i = 0; i < count; i++)
    if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
      fail_msg("%s: number %zu is %a on the device, %a on the processor", what, i, (double)a[i],
               (double)b[i]);
}

static void hold(sb_lowprec_args args, const char *what) {
  const size_t count = args.rows * args.cols;
  float *x = check_random(count, 4.0f, count), *src = check_zeros(count);
  float *got = check_zeros(count), *want = check_zeros(count), tensor[2] = {0.0f, -1.0f};
  for (size_t i = 0; i < count; i += 7) x[i] *= ldexpf(1.0f, (int)(i % 31) - 20);
  sb_from_f32(src, args.src_dtype, x, count);
  void *tensor_dev = gpu_put(tensor + 1, sizeof *tensor);
  void *src_dev = gpu_put(src, count * sizeof *src), *dst_dev = gpu_put(got, count * sizeof *got);
  const bool apart = args.key % 2;
  args.src = src;
  args.dst = want;
  args.tensor_scale = apart ? tensor : NULL;
  assert_ok(cpu->op->round_lowprec(cpu, NULL, &args));
  args.src = src_dev;
  args.dst = dst_dev;
  args.tensor_scale = apart ? tensor_dev : NULL;
  assert_ok(gpu->op->round_lowprec(gpu, NULL, &args));
  gpu_get(got, dst_dev, count * sizeof *got);
  gpu_get(tensor + 1, tensor_dev, sizeof *tensor);
  if (apart) assert_memory_equal(tensor, tensor + 1, sizeof *tensor);
  same(what, got, want, args.dst_dtype, count);
  gpu_drop();
  check_done();
}

static void every_rule_is_exact(void **state) {
  (void)state;
  uint64_t n = 0;
  for (int variant = 0; variant < 4; variant++)
    for (int p = 0; p < SB_PRECISION_COUNT; p++)
      for (int operand = 0; operand < SB_LOWPREC_OPERANDS; operand++)
        for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++, n++) {
          sb_lowprec_options options = sb_lowprec_options_default();
          options.mxfp4_scale = (sb_scale_rule)(SB_SCALE_FLOOR + variant);
          options.stochastic_fp8 = options.nvfp4_two_scales = variant % 2;
          options.nvfp4_hadamard = variant < 2;
          const bool large = variant == 0 && operand == SB_LOWPREC_DY;
          const sb_lowprec_args args = {.rule = sb_lowprec_rule_of((sb_precision)p,
                                                                   (sb_lowprec_operand)operand,
                                                                   (sb_gemm_kind)gemm, &options),
                                        .rows = large ? LARGE_ROWS : 5 + n % 45,
                                        .cols = large ? LARGE_COLS : 1 + n * 37 % 300,
                                        .src_dtype = types[n % 3],
                                        .dst_dtype = types[n / 3 % 3],
                                        .key = n};
          hold(args, sb_precision_names[p]);
        }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_rule_is_exact)};
  return GPU_RUN(tests, GPU_F32);
}
