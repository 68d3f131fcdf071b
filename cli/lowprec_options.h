/* The options that say how low precisions round, of every command that emulates them. Local. */
#ifndef SB_CLI_LOWPREC_OPTIONS_H
#define SB_CLI_LOWPREC_OPTIONS_H

#include "cli/options.h"
#include "io/key.h"
#include "kernels/lowprec.h"

typedef enum sb_switch { SB_OFF, SB_ON } sb_switch;
/* --mxfp4-scale: SB_SCALE_FLOOR + choice. */
typedef enum sb_mxfp4_choice {
  SB_MXFP4_FLOOR,
  SB_MXFP4_CEIL,
  SB_MXFP4_EVEN,
  SB_MXFP4_UP
} sb_mxfp4_choice;

typedef struct sb_rounding_request {
  sb_switch stochastic, hadamard, two_scales, f32_scales;
  sb_mxfp4_choice mxfp4_scale;
  sb_lowprec_dy fp8_dy;
  struct {
    bool stochastic, hadamard, two_scales, f32_scales, mxfp4_scale, fp8_dy;
  } given; /* on the command line */
} sb_rounding_request;

#define SB_ROUNDING_DEFAULTS ((sb_rounding_request){.stochastic = SB_ON, .hadamard = SB_ON})

enum { SB_ROUNDING_OPTIONS = 6 };
/* Writes the options into table[SB_ROUNDING_OPTIONS], pointing into *request; returns their number.
 * Pure. */
size_t sb_rounding_options(sb_rounding_request *request, const char *section, sb_option *table);
/* SB_ERR_USAGE for an option that was given and has no effect, because the command uses no format
 * that it is of. `formats` has bit 1 << precision for each in use. Pure. */
sb_status sb_rounding_check(const sb_rounding_request *request, const char *command,
                            unsigned formats);
/* Adds the options to a key; SB_KEY_NONE where nothing is `emulated`. */
void sb_rounding_key(const sb_rounding_request *request, bool emulated, sb_key *key);
/* What the request means. Pure. */
sb_lowprec_options sb_rounding_settle(const sb_rounding_request *request);

#endif
