#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/inspect.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "folders/finite.h"
#include "folders/hf_source.h"
#include "model/effective_bits.h"
#include "model/sizes.h"

/* What the files say about the tensors of the list. */
typedef struct contents {
  uint64_t bytes;
  size_t files; /* highest file number seen, + 1 */
  size_t tensors[SB_DTYPE_COUNT];
} contents;

static contents count_contents(const sb_hf_source *source) {
  contents c = {0};
  for (size_t i = 0; i < source->arch.count; i++) {
    const sb_tensor_info *info = source->tensors[i];
    c.bytes += info->bytes;
    c.tensors[info->dtype]++;
    if ((size_t)info->fd_index >= c.files) c.files = (size_t)info->fd_index + 1;
  }
  return c;
}

/* "BF16", or "BF16 (270), F32 (2)". */
static void dtype_text(const contents *c, size_t all, char *text, size_t size) {
  size_t n = 0;
  text[0] = 0;
  for (int d = 0; d < SB_DTYPE_COUNT && n < size; d++) {
    if (!c->tensors[d]) continue;
    if (c->tensors[d] == all)
      n += (size_t)snprintf(text + n, size - n, "%s", sb_dtype_name((sb_dtype)d));
    else
      n += (size_t)snprintf(text + n, size - n, "%s%s (%zu)", n ? ", " : "",
                            sb_dtype_name((sb_dtype)d), c->tensors[d]);
  }
}

static void print_sizes(const sb_arch *arch, const contents *c, FILE *out, json_t *report) {
  static const char *const scalings[] = {[SB_ROPE_DEFAULT] = "",
                                         [SB_ROPE_LINEAR] = ", linear scaling",
                                         [SB_ROPE_LLAMA3] = ", llama3 scaling",
                                         [SB_ROPE_YARN] = ", YaRN scaling"};
  const sb_config *f = &arch->config;
  char text[SB_TEXT_SIZE], types[128];
  size_t tables = f->vocab * f->hidden * (f->tie_embeddings ? 1 : 2),
         norms = arch->parameters - arch->linear_parameters - tables;
  sb_table_row(out, "architecture", "%s", f->architecture);
  sb_table_row(out, "layers", "%zu of hidden %zu, MLP %zu", f->layers, f->hidden, f->intermediate);
  sb_table_row(out, "attention", "%zu heads of %zu, %zu KV heads", f->heads, f->head_dim,
               f->kv_heads);
  sb_table_row(out, "vocabulary", "%zu tokens, LM head %s", f->vocab,
               f->tie_embeddings ? "tied to the embedding" : "of its own");
  sb_table_row(out, "rotary embedding", "theta %g%s, trained on %zu positions", f->rope_theta,
               scalings[f->rope_kind], f->max_positions);
  if (f->longest)
    sb_table_row(out, "sequences", "of at most %zu tokens (%s)", f->longest, f->longest_key);
  sb_table_row(out, "parameters", "%s", sb_text_count(text, sizeof text, (double)arch->parameters));
  sb_table_row(out, "  linear layers", "%s (%.1f%%), to be quantized",
               sb_text_count(text, sizeof text, (double)arch->linear_parameters),
               100.0 * (double)arch->linear_parameters / (double)arch->parameters);
  sb_table_row(out, "  embedding, head", "%s (%.1f%%), kept as they are",
               sb_text_count(text, sizeof text, (double)tables),
               100.0 * (double)tables / (double)arch->parameters);
  sb_table_row(out, "  norms", "%s", sb_text_count(text, sizeof text, (double)norms));
  dtype_text(c, arch->count, types, sizeof types);
  sb_table_row(out, "weights", "%s, %zu tensors of %s, %zu file%s",
               sb_text_bytes(text, sizeof text, (double)c->bytes), arch->count, types, c->files,
               sb_text_s(c->files));
  sb_report_text(report, "architecture", f->architecture);
  sb_report_count(report, "layers", f->layers);
  sb_report_count(report, "hidden", f->hidden);
  sb_report_count(report, "intermediate", f->intermediate);
  sb_report_count(report, "heads", f->heads);
  sb_report_count(report, "kv_heads", f->kv_heads);
  sb_report_count(report, "head_dim", f->head_dim);
  sb_report_count(report, "vocab", f->vocab);
  sb_report_flag(report, "tied_embeddings", f->tie_embeddings);
  sb_report_count(report, "parameters", arch->parameters);
  sb_report_count(report, "linear_parameters", arch->linear_parameters);
  sb_report_count(report, "embedding_parameters", tables);
  sb_report_count(report, "norm_parameters", norms);
  sb_report_count(report, "tensors", arch->count);
  sb_report_count(report, "bytes", c->bytes);
  sb_report_count(report, "files", c->files);
  sb_report_text(report, "dtypes", types);
}

static double uniform_bits(const sb_arch *arch, const sb_inspect_request *request, unsigned bits,
                           sb_code_kind code_kind) {
  return sb_effective_bits_uniform(arch, request->block[0], request->block[1], bits, code_kind);
}

/* What uniform widths take, of codes of grids (--codes grid) and of trellises. */
static void print_widths(const sb_arch *arch, const sb_inspect_request *request, FILE *out,
                         json_t *report) {
  char text[SB_TEXT_SIZE];
  json_t *grids = report ? json_array() : NULL, *trellises = report ? json_array() : NULL;
  if (out)
    sb_text_print(out,
                  "  uniform bits       effective bits a weight   linear layers   --codes trellis");
  for (unsigned b = 1; b <= 8; b++) {
    const double grid = uniform_bits(arch, request, b, SB_GRID_ASYMMETRIC),
                 trellis = uniform_bits(arch, request, b, SB_TRELLIS_12);
    const bool odd = b == 1 && grid >= uniform_bits(arch, request, 2, SB_GRID_ASYMMETRIC);
    if (out)
      sb_text_print(out, "  %-18u %-25.4f %-15s %.4f%s", b, grid,
                    sb_text_bytes(text, sizeof text, grid * (double)arch->linear_parameters / 8.0),
                    trellis, odd ? " (grids: not less than 2 bits take)" : "");
    if (grids) json_array_append_new(grids, json_real(grid));
    if (trellises) json_array_append_new(trellises, json_real(trellis));
  }
  if (!report) return;
  json_object_set_new(report, "uniform_effective_bits", grids);
  json_object_set_new(report, "uniform_effective_bits_trellis", trellises);
}

static void print_blocks(const sb_arch *arch, const sb_inspect_request *request, FILE *out,
                         json_t *report) {
  const sb_blocking blocking = {request->block[0], request->block[1], SB_GRID_ASYMMETRIC};
  const size_t blocks = sb_sizes_even(arch, &blocking, 1).blocks;
  sb_table_head(out, "In blocks of %zu x %zu", request->block[0], request->block[1]);
  sb_table_row(out, "blocks", "%zu (%zu a layer)", blocks, blocks / arch->config.layers);
  sb_report_count(report, "block_rows", request->block[0]);
  sb_report_count(report, "block_cols", request->block[1]);
  sb_report_count(report, "blocks", blocks);
  print_widths(arch, request, out, report);
}

sb_status sb_inspect_model(const sb_world *world, const sb_inspect_request *request, FILE *out,
                           json_t *report) {
  sb_hf_source source;
  uint64_t checked = 0;
  sb_status status = sb_hf_source_open(world, request->path, &source);
  if (status == SB_OK) {
    contents c = count_contents(&source);
    if (out) sb_text_print(out, "Model %s", request->path);
    sb_report_text(report, "path", request->path);
    sb_report_text(report, "kind", "model");
    print_sizes(&source.arch, &c, out, report);
    print_blocks(&source.arch, request, out, report);
    sb_inspect_readers_of_model(&source.arch, out, report);
    sb_inspect_ignored(&source, out, report);
  }
  if (status == SB_OK && request->check) {
    if (out) fflush(out);
    status = sb_finite_check(world, &source.arch, source.weights, source.tensors, &checked);
    if (status == SB_OK) sb_table_head(out, "All %" PRIu64 " weights are finite.", checked);
    sb_report_count(report, "checked_weights", checked);
  }
  sb_hf_source_close(&source);
  return status;
}
