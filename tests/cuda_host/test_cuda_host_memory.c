/* A pass on a device that has too little memory takes fewer sequences at a time, says so, and computes the same. */
#include "tests/model/golden.h"

#include "base/log.h"
#include "tests/cuda_host/cuda_host.h"

static double loss_with(size_t memory, size_t *used, char *log, size_t room) {
  const size_t all = (size_t)1 << 30;
  golden g;
  double loss = 0;
  FILE *stream = fmemopen(log, room, "w");
  sb_log_open_to(stream, true);
  sb_cuda_host_device.memory = memory ? memory : all;
  golden_open(&g, &(golden_setup){.name = "gqa-tied", .gradients = true, GOLDEN_DEFAULTS});
  *used = sb_cuda_host_device.in_use;
  sb_cuda_host_device.memory = all; /* for what kernels need in between */
  EXPECT_OK(sb_pass_loss(g.pass, &loss));
  golden_close(&g);
  EXPECT(sb_cuda_host_device.in_use == 0);
  sb_log_open(false);
  fclose(stream);
  return loss;
}

static void fewer_sequences_at_a_time(void **state) {
  char log[1024] = "";
  size_t used, less;
  (void)state;
  const double loss = loss_with(0, &used, log, sizeof log);
  EXPECT(log[0] == 0);
  EXPECT(loss_with(used - 1, &less, log, sizeof log) == loss);
  EXPECT(less < used);
  EXPECT(strstr(log, "1 sequences at a time") != NULL);
  EXPECT(strstr(log, "do not fit") != NULL);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(fewer_sequences_at_a_time)};
RANKS_MAIN(tests)
