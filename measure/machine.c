#include "measure/machine.h"

#include <stdio.h>
#include <string.h>

#include "io/json.h"

static const struct {
  const char *key, *label, *unit;
} figures[SB_FIGURES] = {[SB_FIGURE_GEMM_F32] = {"gemm_f32", "GEMM, f32", "FLOP/s"},
                         [SB_FIGURE_GEMM_BF16] = {"gemm_bf16", "GEMM, bf16", "FLOP/s"},
                         [SB_FIGURE_MEMORY_READ] = {"memory_read", "memory, read", "B/s"},
                         [SB_FIGURE_MEMORY_COPY] = {"memory_copy", "memory, copy", "B/s"},
                         [SB_FIGURE_UPLOAD] = {"upload", "host to device", "B/s"},
                         [SB_FIGURE_DOWNLOAD] = {"download", "device to host", "B/s"},
                         [SB_FIGURE_SUMS] = {"sums", "all-reduce, GPUs", "B/s"},
                         [SB_FIGURE_DISK_WRITE] = {"disk_write", "disk, write and sync", "B/s"},
                         [SB_FIGURE_DISK_READ] = {"disk_read", "disk, read", "B/s"},
                         [SB_FIGURE_COMPRESS] = {"compress", "zstd, compress", "B/s"},
                         [SB_FIGURE_DECOMPRESS] = {"decompress", "zstd, decompress", "B/s"},
                         [SB_FIGURE_FORWARD] = {"forward", "forward", "FLOP/s"},
                         [SB_FIGURE_BACKWARD] = {"backward", "backward", "FLOP/s"},
                         [SB_FIGURE_MOMENTS] = {"moments", "X'X", "FLOP/s"},
                         [SB_FIGURE_GRAMS] = {"grams", "X'X in blocks, exact", "FLOP/s"},
                         [SB_FIGURE_FACTOR] = {"factor", "factor", "FLOP/s"},
                         [SB_FIGURE_ROUNDING] = {"rounding", "GPTQ rounding", "FLOP/s"},
                         [SB_FIGURE_REFINE] = {"refine", "refining", "FLOP/s"},
                         [SB_FIGURE_FIT] = {"fit", "fit grids", "weights/s"},
                         [SB_FIGURE_QUANTIZE] = {"quantize", "quantize", "weights/s"},
                         [SB_FIGURE_SCORE] = {"score", "score moves", "weights/s"},
                         [SB_FIGURE_TRELLIS_12] = {"trellis_12", "codes, 2^12 states", "weights/s"},
                         [SB_FIGURE_TRELLIS_14] = {"trellis_14", "codes, 2^14 states", "weights/s"},
                         [SB_FIGURE_TRELLIS_16] = {"trellis_16", "codes, 2^16 states", "weights/s"},
                         [SB_FIGURE_PACK] = {"pack", "pack", "weights/s"},
                         [SB_FIGURE_UNPACK] = {"unpack", "unpack", "weights/s"},
                         [SB_FIGURE_GATHER] = {"gather", "gather a layer", "B/s"}};

static const char program[] = "shardbits", command[] = "bench";

const char *sb_figure_key(sb_figure figure) {
  return figures[figure].key;
}

const char *sb_figure_label(sb_figure figure) {
  return figures[figure].label;
}

const char *sb_figure_unit(sb_figure figure) {
  return figures[figure].unit;
}

void sb_machine_phase(sb_machine *m, sb_figure phase, double rate, sb_figure limit, double cost) {
  m->value[phase] = rate;
  m->limit[phase] = limit;
  m->share[phase] = m->value[limit] > 0 ? rate * cost / m->value[limit] : 0.0;
}

json_t *sb_machine_json(const sb_machine *m) {
  json_t *limits = json_object(), *phases = json_object(), *network = json_array();
  for (int f = 0; f < SB_FIGURES; f++) {
    if (m->value[f] == 0.0) continue;
    if (f < SB_FIRST_PHASE)
      json_object_set_new(limits, figures[f].key,
                          json_pack("{s:f, s:s}", "rate", m->value[f], "unit", figures[f].unit));
    else
      json_object_set_new(phases, figures[f].key,
                          json_pack("{s:f, s:s, s:s, s:f}", "rate", m->value[f], "unit",
                                    figures[f].unit, "limit", figures[m->limit[f]].key, "share",
                                    m->share[f]));
  }
  for (size_t k = 0; k < m->network_count; k++)
    json_array_append_new(network,
                          json_pack("{s:f, s:f, s:f}", "bytes", m->network[k].bytes, "allgather",
                                    m->network[k].allgather, "allreduce", m->network[k].allreduce));
  return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:o, s:o, s:o}", "program",
                   program, "version", SB_VERSION, "command", command, "backend", m->backend,
                   "model", m->model, "compute", m->compute == SB_COMPUTE_BF16 ? "bf16" : "f32",
                   "ranks", m->ranks, "nodes", m->nodes, "threads", m->threads, "seqlen",
                   (json_int_t)m->seqlen, "limits", limits, "network", network, "phases", phases);
}

/* Figures that are not there were not measured. */
static sb_status read_figures(const char *path, const json_t *limits, const json_t *phases,
                              sb_machine *out) {
  for (int f = 0; f < SB_FIGURES; f++) {
    const bool limit = f < SB_FIRST_PHASE;
    const json_t *figure = json_object_get(limit ? limits : phases, figures[f].key);
    if (!figure) continue;
    if (!json_is_object(figure))
      return sb_fail(SB_ERR_FORMAT, "%s: %s is not what bench writes", path, figures[f].key);
    SB_TRY(sb_json_get_real(path, figures[f].key, figure, "rate", &out->value[f]));
    if (out->value[f] <= 0.0)
      return sb_fail(SB_ERR_FORMAT, "%s: %s: the rate must be above 0, not %g", path,
                     figures[f].key, out->value[f]);
    if (!limit) SB_TRY(sb_json_get_real(path, figures[f].key, figure, "share", &out->share[f]));
  }
  return SB_OK;
}

static sb_status read(const char *path, const json_t *object, sb_machine *out) {
  const char *from, *made_by, *backend, *model, *compute;
  json_t *limits, *phases;
  uint64_t ranks, nodes, threads, seqlen;
  SB_TRY(sb_json_get_string(path, "", object, "program", &from));
  SB_TRY(sb_json_get_string(path, "", object, "command", &made_by));
  if (strcmp(from, program) != 0 || strcmp(made_by, command) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: not a report of shardbits bench; make one with bench --json",
                   path);
  SB_TRY(sb_json_get_string(path, "", object, "backend", &backend));
  SB_TRY(sb_json_get_string(path, "", object, "model", &model));
  SB_TRY(sb_json_get_string(path, "", object, "compute", &compute));
  SB_TRY(sb_json_get_u64(path, "", object, "ranks", INT32_MAX, &ranks));
  SB_TRY(sb_json_get_u64(path, "", object, "nodes", INT32_MAX, &nodes));
  SB_TRY(sb_json_get_u64(path, "", object, "threads", INT32_MAX, &threads));
  SB_TRY(sb_json_get_u64(path, "", object, "seqlen", INT32_MAX, &seqlen));
  SB_TRY(sb_json_get_object(path, "", object, "limits", &limits));
  SB_TRY(sb_json_get_object(path, "", object, "phases", &phases));
  snprintf(out->backend, sizeof out->backend, "%s", backend);
  snprintf(out->model, sizeof out->model, "%s", model);
  out->compute = strcmp(compute, "bf16") == 0 ? SB_COMPUTE_BF16 : SB_COMPUTE_F32;
  out->ranks = (int)ranks;
  out->nodes = (int)nodes;
  out->threads = (int)threads;
  out->seqlen = (size_t)seqlen;
  return read_figures(path, limits, phases, out);
}

sb_status sb_machine_read(const char *path, sb_machine *out) {
  json_t *object = NULL;
  memset(out, 0, sizeof *out);
  SB_TRY(sb_json_read(path, &object));
  const sb_status status = read(path, object, out);
  json_decref(object);
  return status;
}

static double seconds_of(double work, double rate) {
  return rate > 0.0 ? work / rate : 0.0;
}

void sb_machine_rates(const sb_machine *m, sb_rates *out) {
  const double *v = m->value;
  const double write =
      seconds_of(1, v[SB_FIGURE_COMPRESS]) + seconds_of(1, v[SB_FIGURE_DISK_WRITE]);
  *out = (sb_rates){
      .forward = v[SB_FIGURE_FORWARD],
      .backward = v[SB_FIGURE_BACKWARD],
      .moments = v[SB_FIGURE_MOMENTS],
      .factor = v[SB_FIGURE_FACTOR],
      .rounding = v[SB_FIGURE_ROUNDING],
      .refine = v[SB_FIGURE_REFINE],
      .fit = v[SB_FIGURE_FIT],
      .quantize = v[SB_FIGURE_QUANTIZE],
      .score = v[SB_FIGURE_SCORE],
      .unpack = v[SB_FIGURE_UNPACK],
      .trellis = {v[SB_FIGURE_TRELLIS_12], v[SB_FIGURE_TRELLIS_14], v[SB_FIGURE_TRELLIS_16]},
      .pack = v[SB_FIGURE_PACK],
      .read = v[SB_FIGURE_DISK_READ],
      .write = write > 0.0 ? 1.0 / write : 0.0,
      .network =
          m->nodes > 1 ? v[SB_FIGURE_GATHER] * (double)(m->nodes - 1) / (double)m->nodes : 0.0};
}
