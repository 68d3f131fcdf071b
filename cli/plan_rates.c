/* shardbits plan: how fast a rank is. */
#include <stdio.h>

#include "base/text.h"
#include "cli/plan.h"
#include "measure/limits.h"
#include "measure/machine.h"

/* As bench has measured them. What it could not measure is taken from --network,
 * where given or not. */
static sb_status rates_of_machine(const sb_plan_rates_request *r, sb_plan *plan) {
  const sb_plan_setup *setup = plan->setup;
  sb_machine machine;
  char *from = plan->rates_from;
  const size_t size = sizeof plan->rates_from;
  SB_TRY(sb_machine_read(r->machine, &machine));
  if (machine.value[SB_FIGURE_FORWARD] == 0.0 || machine.value[SB_FIGURE_BACKWARD] == 0.0)
    return sb_fail(SB_ERR_FORMAT, "%s: has no forward or backward phase", r->machine);
  if (machine.compute != setup->compute)
    return sb_fail(SB_ERR_RANGE,
                   "%s: was measured with --compute %s; measure with the one to be planned",
                   r->machine, sb_compute_name(machine.compute));
  sb_machine_rates(&machine, &plan->rates);
  snprintf(from, size, "of %.100s: %s, %d rank%s x %d thread%s, %zu tokens of %.60s%s%s",
           r->machine, machine.backend, machine.ranks, sb_text_s(machine.ranks), machine.threads,
           sb_text_s(machine.threads), machine.seqlen, machine.model,
           machine.seqlen == setup->seqlen ? "" : " (another length than planned)",
           plan->rates.network > 0.0 ? "" : "; network as given, it was measured on one node");
  if (plan->rates.network == 0.0) plan->rates.network = 1e9 * r->network;
  return SB_OK;
}

static sb_status measure_gflops(const sb_common *common, double *gflops) {
  sb_backend *backend;
  double flops;
  SB_TRY(sb_backend_cpu_create(sb_common_compute(common), common->threads, &backend));
  const sb_status status = sb_limit_gemm(NULL, backend, 3, &flops);
  backend->op->destroy(backend);
  *gflops = flops / 1e9;
  return status;
}

sb_status sb_plan_rates(const sb_plan_rates_request *r, const sb_common *common, sb_plan *plan) {
  double gflops = r->gflops;
  if (r->machine) return rates_of_machine(r, plan);
  snprintf(plan->rates_from, sizeof plan->rates_from, "as given");
  if (gflops == 0.0 && plan->setup->gpus_per_node > 0) {
    snprintf(plan->rates_from, sizeof plan->rates_from, "no GPU was measured");
  } else if (gflops == 0.0) {
    const sb_status status = measure_gflops(common, &gflops);
    if (status != SB_OK && status != SB_ERR_UNSUPPORTED) return status;
    snprintf(
        plan->rates_from, sizeof plan->rates_from, "%s",
        status == SB_OK
            ? "of a matrix product measured here just now, the rest left out; --machine knows more"
            : "bf16 is not computed here");
  }
  const double rate = 1e9 * gflops;
  plan->rates = (sb_rates){.forward = rate,
                           .backward = rate,
                           .moments = rate,
                           .factor = rate,
                           .rounding = rate,
                           .refine = rate,
                           .network = 1e9 * r->network};
  return SB_OK;
}
