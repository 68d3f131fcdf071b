#include "cli/quantize_readers.h"

#include "kernels/shared/code_traits.h"

enum { SHORTEST_GROUP = 32 }; /* of any server */

bool sb_quantize_for_server(const sb_quantize_request *r) {
  return r->widths_for != SB_WIDTHS_FOR_ANY && r->widths_for != SB_WIDTHS_FOR_EXL3;
}

static const char *name_of(const sb_quantize_request *r) {
  return sb_widths_for_names[r->widths_for];
}

static sb_status settle_levels(sb_quantize_request *r, const sb_width_rules *rules,
                               const char *command) {
  if (r->codes != SB_CODES_GRID)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --codes trellis does not go with --widths-for %s, which reads "
                   "grids",
                   command, name_of(r));
  if (!r->given.grid_kind && !rules->asymmetric) r->grid_kind = SB_GRID_SIGNED;
  const sb_code_kind levels = r->symmetric ? SB_GRID_SYMMETRIC : r->grid_kind;
  if (sb_width_rules_take(rules, levels)) return SB_OK;
  return sb_fail(SB_ERR_USAGE,
                 "%s: --grid-kind %s does not go with --widths-for %s: choose %s%ssigned", command,
                 sb_grid_kind_names[levels], name_of(r), rules->asymmetric ? "asymmetric" : "",
                 rules->asymmetric ? " or " : "");
}

/* The bounds become widths of the reader. */
static sb_status settle_bounds(sb_quantize_request *r, const sb_width_rules *rules,
                               const char *command) {
  char text[SB_WIDTH_SET_TEXT];
  const unsigned least = sb_width_at_least(rules->widths, r->min_bits ? r->min_bits : 1),
                 most = sb_width_at_most(rules->widths, r->max_bits);
  sb_width_set_text(rules->widths, text);
  if (least == 0 || most == 0 || least > most)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --widths-for %s takes %s bits, none of which lies in --min-bits %u to "
                   "--max-bits %u",
                   command, name_of(r), text, r->min_bits, r->max_bits);
  if (r->start_bits != 0 && !(rules->widths >> r->start_bits & 1u))
    return sb_fail(SB_ERR_USAGE, "%s: --start-bits %u: --widths-for %s takes %s bits", command,
                   r->start_bits, name_of(r), text);
  r->min_bits = least;
  r->max_bits = most;
  return SB_OK;
}

static sb_status settle_table(sb_quantize_request *r, const char *option, bool given,
                              unsigned *bits, sb_width_set set, const char *command) {
  char text[SB_WIDTH_SET_TEXT];
  if (!given) {
    if (set == 0) *bits = SB_SOURCE_BITS;
    return SB_OK;
  }
  if (*bits == SB_SOURCE_BITS || (*bits <= SB_MAX_BITS && set >> *bits & 1u)) return SB_OK;
  sb_width_set_text(set, text);
  return sb_fail(SB_ERR_USAGE, "%s: --%s %u does not go with --widths-for %s, which takes %s%s%d",
                 command, option, *bits, name_of(r), text, set ? " or " : "", SB_SOURCE_BITS);
}

sb_status sb_quantize_settle_reader(sb_quantize_request *r, const char *command) {
  const sb_width_rules *rules = sb_width_rules_for(r->widths_for);
  if (r->tensor_parallel > 1 && !rules->parts)
    return sb_fail(
        SB_ERR_USAGE,
        "%s: --tensor-parallel %zu is of --widths-for vllm or sglang, which cut matrices "
        "among their ranks",
        command, r->tensor_parallel);
  if (!sb_quantize_for_server(r)) return SB_OK;
  if (r->method == SB_METHOD_TABLE)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --method table gives each block a width, and --widths-for %s has one for "
                   "each matrix: choose scalebits, layer or rtn",
                   command, name_of(r));
  if (r->reorder == SB_REORDER_INDEXED)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --reorder indexed does not go with --widths-for %s, which has no place for "
                   "orders; fused needs none",
                   command, name_of(r));
  SB_TRY(settle_levels(r, rules, command));
  SB_TRY(settle_bounds(r, rules, command));
  SB_TRY(settle_table(r, "embed-bits", r->given.embed_bits, &r->embed_bits, rules->embed, command));
  return settle_table(r, "head-bits", r->given.head_bits, &r->head_bits, rules->head, command);
}

sb_status sb_quantize_settle_model(sb_quantize_request *r, const char *command,
                                   const sb_arch *arch) {
  const sb_width_rules *rules = sb_width_rules_for(r->widths_for);
  const size_t parallel = r->tensor_parallel;
  if (!sb_quantize_for_server(r)) return SB_OK;
  if (!r->given.scale_type && rules->parts)
    r->scale_type = arch->config.dtype == SB_BF16 ? SB_SCALES_BF16 : SB_SCALES_FP16;
  if (!r->common.block_given) {
    const size_t longest = sb_width_rules_group(rules, arch, parallel);
    r->common.block[1] = longest > 0 ? longest : SHORTEST_GROUP; /* which is refused below */
  }
  if (arch->config.kv_heads % parallel != 0)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: --tensor-parallel %zu does not divide the %zu key-value heads of %s",
                   command, parallel, arch->config.kv_heads, r->model);
  const sb_status status = sb_width_rules_check_group(rules, arch, r->common.block[1], parallel);
  if (status == SB_OK) return SB_OK;
  return sb_fail(status, "%s --widths-for %s: %s", command, name_of(r), sb_message());
}

sb_width_scope sb_quantize_scope(const sb_quantize_request *r) {
  const sb_width_scope scope = sb_width_rules_for(r->widths_for)->scope;
  if (r->method == SB_METHOD_RTN) return SB_WIDTH_OF_MODEL;
  return r->method == SB_METHOD_LAYER && scope == SB_WIDTH_OF_BLOCK ? SB_WIDTH_OF_MATRIX : scope;
}

sb_width_set sb_quantize_widths(const sb_quantize_request *r) {
  const sb_width_set bounds = sb_width_range(r->min_bits ? r->min_bits : SB_MIN_BITS, r->max_bits);
  return bounds & sb_width_rules_for(r->widths_for)->widths;
}

sb_width_set sb_quantize_table_widths(const sb_quantize_request *r) {
  const sb_width_rules *rules = sb_width_rules_for(r->widths_for);
  return sb_quantize_for_server(r) ? rules->head | rules->embed : 0;
}
