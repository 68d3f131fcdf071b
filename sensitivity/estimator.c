#include "sensitivity/estimator.h"

#include <stddef.h>

const char *const sb_estimator_names[] = {[SB_ESTIMATOR_DIVERGENCE] = "divergence",
                                          [SB_ESTIMATOR_FISHER] = "fisher",
                                          [SB_ESTIMATOR_TAYLOR] = "taylor",
                                          [SB_ESTIMATOR_HESSIAN] = "hessian",
                                          [SB_ESTIMATOR_DIAGONAL] = "diagonal",
                                          [SB_ESTIMATOR_SECOND] = "second",
                                          NULL};
