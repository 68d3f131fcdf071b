#include "policy/export.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "io/file.h"
#include "policy/export_rules.h"
#include "policy/text_file.h"

const char *const sb_export_names[] = {"json", "megatron", "te", "torchao", "torchtitan", NULL};

static const sb_export_rules rules[] = {
    [SB_EXPORT_MEGATRON] = {.trainer = "Megatron-LM",
                            .multiple = {[SB_PRECISION_HIGH] = 1,
                                         [SB_PRECISION_FP8_TENSOR] = 16,
                                         [SB_PRECISION_FP8_128] = 16,
                                         [SB_PRECISION_MXFP8] = 32,
                                         [SB_PRECISION_NVFP4] = 16},
                            .fused = true},
    [SB_EXPORT_TE] = {.trainer = "TransformerEngine",
                      .multiple = {[SB_PRECISION_HIGH] = 1,
                                   [SB_PRECISION_FP8_TENSOR] = 16,
                                   [SB_PRECISION_FP8_128] = 16,
                                   [SB_PRECISION_MXFP8] = 32,
                                   [SB_PRECISION_NVFP4] = 16},
                      .by_gemm = true},
    [SB_EXPORT_TORCHAO] = {.trainer = "torchao",
                           .multiple = {[SB_PRECISION_HIGH] = 1,
                                        [SB_PRECISION_FP8_TENSOR] = 16,
                                        [SB_PRECISION_FP8_128] = 128,
                                        [SB_PRECISION_MXFP8] = 32,
                                        [SB_PRECISION_NVFP4] = 128},
                           .by_gemm = true},
    [SB_EXPORT_TORCHTITAN] = {.trainer = "torchtitan",
                              .multiple = {[SB_PRECISION_HIGH] = 1,
                                           [SB_PRECISION_FP8_TENSOR] = 16,
                                           [SB_PRECISION_MXFP8] = 32,
                                           [SB_PRECISION_NVFP4] = 128}},
};

sb_status sb_export_check_policy(sb_export format, const sb_policy *policy) {
  if (format == SB_EXPORT_JSON) return SB_OK;
  SB_TRY(sb_export_check(policy, &rules[format]));
  if (format == SB_EXPORT_TORCHAO) return sb_export_check_torchao(policy);
  if (format == SB_EXPORT_MEGATRON || format == SB_EXPORT_TORCHTITAN)
    return sb_export_check_kinds(policy, rules[format].trainer);
  return SB_OK;
}

/* OUT without ".json", and what follows it. */
static sb_status name_file(char *path, const char *out, const char *end) {
  const size_t stem = strlen(out) - (sb_text_ends(out, ".json") ? strlen(".json") : 0);
  if (snprintf(path, SB_PATH_MAX, "%.*s%s", (int)stem, out, end) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%s: the names of exported files would be too long", out);
  return SB_OK;
}

static sb_status write_module(sb_export format, const sb_policy *policy, const char *out) {
  char path[SB_PATH_MAX];
  sb_text_file file;
  SB_TRY(name_file(path, out,
                   format == SB_EXPORT_TE        ? "_te.py"
                   : format == SB_EXPORT_TORCHAO ? "_torchao.py"
                                                 : "_torchtitan.py"));
  SB_TRY(sb_text_file_begin(&file));
  if (format == SB_EXPORT_TE)
    sb_export_te(file.out, policy);
  else if (format == SB_EXPORT_TORCHAO)
    sb_export_torchao(file.out, policy);
  else
    sb_export_torchtitan(file.out, policy);
  SB_TRY(sb_text_file_end(&file, path));
  sb_log_line("policy for %s: %s", rules[format].trainer, path);
  return SB_OK;
}

static sb_status name_stage(char *path, const char *out, size_t stage) {
  char end[32];
  snprintf(end, sizeof end, ".stage%zu.yaml", stage);
  return name_file(path, out, end);
}

static sb_status write_stage(const sb_policy *policy, const sb_stages *stages, size_t stage,
                             const char *out) {
  char path[SB_PATH_MAX];
  sb_text_file file;
  SB_TRY(name_stage(path, out, stage));
  SB_TRY(sb_text_file_begin(&file));
  sb_export_megatron(file.out, policy, stages->first[stage], stages->first[stage + 1], stage);
  SB_TRY(sb_text_file_end(&file, path));
  sb_log_line("policy for Megatron-LM, stage %zu: %s", stage, path);
  return SB_OK;
}

/* Whether a file begins as sb_export_megatron writes it. */
static bool is_stage(const char *path) {
  enum { LENGTH = sizeof SB_EXPORT_STAGE_MARK - 1 };
  char start[LENGTH];
  uint64_t bytes;
  int fd;
  if (access(path, F_OK) != 0 || sb_file_open(path, &fd, &bytes) != SB_OK) return false;
  const bool is = bytes >= LENGTH && sb_file_read_at(fd, path, 0, start, LENGTH) == SB_OK &&
                  memcmp(start, SB_EXPORT_STAGE_MARK, LENGTH) == 0;
  close(fd);
  return is;
}

/* Files of an earlier policy of more stages, which would pass for this one's. */
static sb_status remove_stages(size_t stage, const char *out) {
  char path[SB_PATH_MAX];
  for (;; stage++) {
    SB_TRY(name_stage(path, out, stage));
    if (!is_stage(path)) return SB_OK;
    if (unlink(path) != 0)
      return sb_fail(SB_ERR_IO, "%s: is of an earlier policy, and cannot be removed: %s", path,
                     strerror(errno));
    sb_log_line("removed %s, a stage of an earlier policy", path);
  }
}

sb_status sb_export_write(sb_export format, const sb_policy *policy, const sb_stages *stages,
                          const char *out) {
  if (format == SB_EXPORT_JSON) return SB_OK;
  SB_TRY(sb_export_check_policy(format, policy));
  if (format != SB_EXPORT_MEGATRON) return write_module(format, policy, out);
  for (size_t stage = 0; stage < stages->count; stage++)
    SB_TRY(write_stage(policy, stages, stage, out));
  return remove_stages(stages->count, out);
}
