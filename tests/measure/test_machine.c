/* A machine's figures as JSON and back, and the rates that come of them. */
#include "measure/machine.h"

#include <math.h>

#include "io/json.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static const char *path;

static int make_path(void **state) {
  if (scratch_setup(state) != 0) return -1;
  path = scratch_path("machine.json");
  return 0;
}

static sb_machine machine(void) {
  sb_machine m = {.backend = "cpu",
                  .model = "some/model",
                  .compute = SB_COMPUTE_BF16,
                  .ranks = 8,
                  .nodes = 2,
                  .threads = 4,
                  .seqlen = 128};
  m.value[SB_FIGURE_GEMM_BF16] = 2e11;
  m.value[SB_FIGURE_MEMORY_COPY] = 4e10;
  m.value[SB_FIGURE_DISK_WRITE] = 1e9;
  m.value[SB_FIGURE_DISK_READ] = 2e9;
  m.value[SB_FIGURE_COMPRESS] = 5e8;
  sb_machine_phase(&m, SB_FIGURE_FORWARD, 1e11, SB_FIGURE_GEMM_BF16, 1);
  sb_machine_phase(&m, SB_FIGURE_BACKWARD, 1.5e11, SB_FIGURE_GEMM_BF16, 1);
  sb_machine_phase(&m, SB_FIGURE_SCORE, 1e9, SB_FIGURE_MEMORY_COPY, 6);
  sb_machine_phase(&m, SB_FIGURE_GATHER, 3e9, SB_FIGURE_MEMORY_COPY, 2);
  m.network[0] = (sb_network_figure){65536, 1e9, 2e9};
  m.network_count = 1;
  return m;
}

static void shares_of_limits(void **state) {
  (void)state;
  sb_machine m = machine();
  assert_true(m.share[SB_FIGURE_FORWARD] == 0.5 &&
              m.limit[SB_FIGURE_FORWARD] == SB_FIGURE_GEMM_BF16);
  assert_true(m.share[SB_FIGURE_SCORE] == 6e9 / 4e10);
  sb_machine_phase(&m, SB_FIGURE_FACTOR, 1e9, SB_FIGURE_GEMM_F32,
                   1); /* a limit that was not measured */
  assert_true(m.share[SB_FIGURE_FACTOR] == 0);
}

static void there_and_back(void **state) {
  (void)state;
  const sb_machine m = machine();
  sb_machine back;
  json_t *json = sb_machine_json(&m);
  assert_non_null(json);
  assert_int_equal(json_array_size(json_object_get(json, "network")), 1);
  assert_ok(sb_json_write(path, json));
  json_decref(json);
  assert_ok(sb_machine_read(path, &back));
  for (int f = 0; f < SB_FIGURES; f++) {
    assert_true(back.value[f] == m.value[f]);
    assert_true(back.share[f] == m.share[f]);
  }
  assert_string_equal(back.backend, "cpu");
  assert_string_equal(back.model, "some/model");
  assert_true(back.compute == SB_COMPUTE_BF16 && back.ranks == 8 && back.nodes == 2 &&
              back.threads == 4 && back.seqlen == 128);
}

static void rates(void **state) {
  (void)state;
  sb_machine m = machine();
  sb_rates r;
  sb_machine_rates(&m, &r);
  assert_true(r.forward == 1e11 && r.backward == 1.5e11 && r.score == 1e9 && r.read == 2e9);
  assert_true(fabs(r.write - 1 / (1 / 5e8 + 1 / 1e9)) < 1e-3);
  assert_true(r.network == 1.5e9); /* half of a layer comes from the other node */
  assert_true(r.quantize == 0 && r.rounding == 0);
  m.nodes = 1;
  sb_machine_rates(&m, &r);
  assert_true(r.network == 0);
}

static void refuse(const char *text, const char *why) {
  sb_machine m;
  put_text(path, text);
  assert_fails(sb_machine_read(path, &m), SB_ERR_FORMAT, why);
}

static void other_files(void **state) {
  (void)state;
  const char head[] =
      "{\"program\": \"shardbits\", \"command\": \"bench\", \"backend\": \"cpu\", \"model\": "
      "\"m\", "
      "\"compute\": \"f32\", \"ranks\": 1, \"nodes\": 1, \"threads\": 1, \"seqlen\": 9, ";
  char text[512];
  refuse("{}", "\"program\" (a string) is missing");
  refuse("{\"program\": \"shardbits\", \"command\": \"plan\"}", "not a report of shardbits bench");
  snprintf(text, sizeof text, "%s\"limits\": {}}", head);
  refuse(text, "\"phases\" (an object) is missing");
  snprintf(text, sizeof text, "%s\"limits\": {\"gemm_f32\": 3}, \"phases\": {}}", head);
  refuse(text, "gemm_f32 is not what bench writes");
  snprintf(text, sizeof text, "%s\"limits\": {\"gemm_f32\": {\"rate\": -1.0}}, \"phases\": {}}",
           head);
  refuse(text, "must be above 0");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(shares_of_limits),
                                     cmocka_unit_test(there_and_back), cmocka_unit_test(rates),
                                     cmocka_unit_test(other_files)};
  return cmocka_run_group_tests(tests, make_path, scratch_teardown);
}
