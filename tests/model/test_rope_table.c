/* Cosines and sines against LlamaRotaryEmbedding of Hugging Face transformers 5.23, those of YaRN
 * of 5.24 (PyTorch, CPU, float32). */
#include <math.h>
#include <stdlib.h>

#include "model/rope_table.h"
#include "tests/support/config_json.h"

enum { T = 2048 };

static const struct {
  size_t t, i;
  float cos, sin;
} llama3[] =
    {
        /* Llama 3.1 8B: head_dim 128; i = 20 unchanged, 31 and 33 blended, 36 and above divided by
           8 */
        {1, 0, 0.540302336f, 0.841470957f},
        {1, 20, 0.99986285f, 0.0165596846f},
        {1, 31, 0.999999642f, 0.000856751343f},
        {1, 33, 0.99999994f, 0.00031269365f},
        {1, 36, 1.0f, 7.78465546e-05f},
        {1, 45, 1.0f, 1.22976389e-05f},
        {1, 63, 1.0f, 3.06892588e-07f},
        {77, 20, 0.291354388f, 0.95661521f},
        {77, 31, 0.997824788f, 0.0659220219f},
        {77, 33, 0.999710143f, 0.0240750853f},
        {2047, 0, 0.249715254f, -0.968319297f},
        {2047, 20, -0.791035891f, 0.611769736f},
        {2047, 31, -0.181954637f, 0.983306944f},
        {2047, 33, 0.802045643f, 0.59726274f},
        {2047, 36, 0.987330317f, 0.158678353f},
        {2047, 45, 0.999683142f, 0.0251706094f},
        {2047, 63, 0.999999821f, 0.000628209091f},
},
  linear[] =
      {
          /* theta 10000, head_dim 64, factor 4 */
          {1, 0, 0.968912423f, 0.247403964f},     {1, 31, 1.0f, 3.33380376e-05f},
          {100, 7, -0.981584251f, -0.191029638f}, {2047, 0, -0.946171045f, 0.32366699f},
          {2047, 7, 0.643235087f, -0.76566869f},  {2047, 31, 0.997672319f, 0.068190001f},
},
  plain[] = {
      {1, 7, 0.991121769f, 0.132957265f},     {1, 31, 1.0f, 0.00013335215f},
      {100, 0, 0.862318873f, -0.506365657f},  {100, 7, 0.718714893f, 0.695304871f},
      {2047, 7, -0.940489471f, 0.339822918f}, {2047, 31, 0.962973952f, 0.269594431f},
};

static const struct {
  size_t t, i;
  float cos, sin;
} yarn[] =
    {
        /* head_dim 128, theta 1e6, factor 4 of 8192 positions: i = 20 is kept, 31 blended, 40
           divided by 4; all longer by 1.1386 */
        {1, 0, 0.615204155f, 0.958123624f},     {1, 20, 1.13855326f, 0.0131739452f},
        {1, 25, 1.13862455f, 0.00333868596f},   {1, 40, 1.13862944f, 5.06200304e-05f},
        {77, 20, 0.715861559f, 0.885448575f},   {77, 31, 1.1378696f, 0.0415901951f},
        {2047, 0, 0.28433314f, -1.10255682f},   {2047, 20, 0.138995036f, -1.13011384f},
        {2047, 25, 1.09398067f, -0.315726846f}, {2047, 31, 0.642489374f, 0.94004488f},
        {2047, 40, 1.13391781f, 0.103476241f},  {2047, 63, 1.1386292f, 0.000723086414f},
},
  yarn_by_ratio[] = {
      /* head_dim 64, theta 1e4, 4096 positions of 64, mscale 0.7 and 1.3, betas 16 and 2, no
         truncation */
      {1, 0, 0.452791959f, 0.705181658f},     {1, 10, 0.838034153f, 0.00073634577f},
      {1, 20, 0.838034451f, 4.14077767e-05f}, {1, 31, 0.838034451f, 1.7461515e-06f},
      {2047, 0, 0.209269986f, -0.811484933f}, {2047, 10, -0.18927139f, 0.816381097f},
      {2047, 20, 0.833751559f, 0.084617272f}, {2047, 31, 0.838026822f, 0.00357436109f},
};

/* The angle carries the float32 rounding of the frequency (a unit or two in the last place of
 * powf, times t): an absolute error of t * frequency * 2^-22. The values themselves are
 * printed to 9 digits. */
#define CHECK(table, config)                                                                       \
  do {                                                                                             \
    size_t half = (config).head_dim / 2;                                                           \
    const float length =                                                                           \
        (config).rope_kind == SB_ROPE_YARN ? (float)(config).rope_attention : 1.0f;                \
    float *cos_sin = malloc(T * half * 2 * sizeof *cos_sin);                                       \
    assert_non_null(cos_sin);                                                                      \
    sb_rope_table(&(config), T, cos_sin);                                                          \
    for (size_t n = 0; n < sizeof(table) / sizeof *(table); n++) {                                 \
      const float *have = cos_sin + ((table)[n].t * half + (table)[n].i) * 2;                      \
      double angle =                                                                               \
          (double)(table)[n].t * pow((config).rope_theta, -(double)(table)[n].i / (double)half);   \
      double allowed = 1e-7 + angle * 0x1p-22;                                                     \
      if (fabs((double)have[0] - (double)(table)[n].cos) > allowed ||                              \
          fabs((double)have[1] - (double)(table)[n].sin) > allowed)                                \
        fail_msg(#table "[%zu]: %.9g %.9g, expected %.9g %.9g", n, (double)have[0],                \
                 (double)have[1], (double)(table)[n].cos, (double)(table)[n].sin);                 \
    }                                                                                              \
    for (size_t i = 0; i < half; i++)                                                              \
      assert_true(cos_sin[2 * i] == length && cos_sin[2 * i + 1] == 0.0f);                         \
    free(cos_sin);                                                                                 \
  } while (0)

static void against_hugging_face(void **state) {
  (void)state;
  sb_config c;
  assert_ok(parse_config(llama31, "{}", false, &c));
  CHECK(llama3, c);
  assert_ok(parse_config(smollm2, "{\"rope_theta\":null}", false, &c));
  CHECK(plain, c);
  assert_ok(parse_config(
      smollm2, "{\"rope_theta\":null,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}", false,
      &c));
  CHECK(linear, c);
  /* Dynamic: below the trained length as if it were not there. */
  assert_ok(parse_config(
      smollm2, "{\"rope_theta\":null,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}}", false,
      &c));
  CHECK(plain, c);
  assert_ok(parse_config(llama31,
                         "{\"rope_theta\":1e6,\"max_position_embeddings\":32768,\"rope_scaling\":{"
                         "\"rope_type\":\"yarn\",\"factor\":4,"
                         "\"original_max_position_embeddings\":8192}}",
                         false, &c));
  CHECK(yarn, c);
  assert_ok(parse_config(smollm2,
                         "{\"rope_theta\":null,\"max_position_embeddings\":4096,\"rope_scaling\":{"
                         "\"type\":\"yarn\",\"factor\":null,\"mscale\":0.7,\"mscale_all_dim\":1.3,"
                         "\"beta_fast\":16,\"beta_slow\":2,\"truncate\":false,"
                         "\"original_max_position_embeddings\":64}}",
                         true, &c));
  CHECK(yarn_by_ratio, c);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(against_hugging_face)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
