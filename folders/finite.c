#include "folders/finite.h"

#include <inttypes.h>

#include "base/memory.h"
#include "base/progress.h"

enum { PIECE_BYTES = 8 << 20 };

/* Exponent bits all ones: NaN or infinity. */
static bool bad16(const void *v, size_t count, uint16_t mask, size_t *first) {
  int any = 0;
#pragma omp simd reduction(| : any)
  for (size_t i = 0; i < count; i++) any |= (sb_element16(v, i) & mask) == mask;
  for (size_t i = 0; any && i < count; i++)
    if ((sb_element16(v, i) & mask) == mask) {
      *first = i;
      return true;
    }
  return false;
}

static bool bad32(const void *v, size_t count, size_t *first) {
  int any = 0;
#pragma omp simd reduction(| : any)
  for (size_t i = 0; i < count; i++) any |= (sb_element32(v, i) & 0x7f800000u) == 0x7f800000u;
  for (size_t i = 0; any && i < count; i++)
    if ((sb_element32(v, i) & 0x7f800000u) == 0x7f800000u) {
      *first = i;
      return true;
    }
  return false;
}

size_t sb_finite_first_bad(const void *values, sb_dtype dtype, size_t count) {
  size_t first = count;
  if (dtype == SB_F32)
    bad32(values, count, &first);
  else
    bad16(values, count, dtype == SB_BF16 ? 0x7f80u : 0x7c00u, &first);
  return first;
}

/* What was found by one rank; the first one of all is the smallest piece. */
typedef struct finding {
  uint64_t piece; /* UINT64_MAX: nothing */
  uint64_t tensor, element;
} finding;

static sb_status scan_own(const sb_world *world, const sb_arch *arch, const sb_safetensors *weights,
                          const sb_tensor_info *const *tensors, finding *found, uint64_t *checked) {
  void *buffer;
  uint64_t piece = 0;
  sb_status status = SB_OK;
  SB_TRY(sb_alloc_raw(&buffer, PIECE_BYTES, 1, "piece of a tensor"));
  sb_progress_begin("check", (double)arch->parameters);
  for (size_t i = 0; i < arch->count; i++) {
    const sb_tensor_info *info = tensors[i];
    size_t element = sb_dtype_size(info->dtype);
    for (uint64_t at = 0; at < info->bytes; at += PIECE_BYTES, piece++) {
      if (piece % (uint64_t)world->size != (uint64_t)world->rank || found->piece != UINT64_MAX)
        continue;
      size_t bytes = info->bytes - at < PIECE_BYTES ? (size_t)(info->bytes - at) : PIECE_BYTES,
             count = bytes / element;
      SB_GO(sb_safetensors_read(weights, info, at, bytes, buffer));
      size_t bad = sb_finite_first_bad(buffer, info->dtype, count);
      if (bad < count) *found = (finding){piece, i, at / element + bad};
      *checked += count;
      sb_progress_step((double)*checked * world->size);
    }
  }
done:
  sb_progress_end();
  sb_free(&buffer);
  return status;
}

sb_status sb_finite_check(const sb_world *world, const sb_arch *arch, const sb_safetensors *weights,
                          const sb_tensor_info *const *tensors, uint64_t *checked) {
  finding mine = {UINT64_MAX, 0, 0};
  uint64_t own = 0, first = UINT64_MAX;
  *checked = 0;
  SB_AGREE(world, scan_own(world, arch, weights, tensors, &mine, &own));
  SB_MPI(MPI_Allreduce(&own, checked, 1, MPI_UINT64_T, MPI_SUM, world->comm));
  SB_MPI(MPI_Allreduce(&mine.piece, &first, 1, MPI_UINT64_T, MPI_MIN, world->comm));
  if (first == UINT64_MAX) return SB_OK;
  SB_MPI(MPI_Bcast(&mine, (int)sizeof mine, MPI_BYTE, (int)(first % (uint64_t)world->size),
                   world->comm));
  const sb_model_tensor *t = &arch->tensors[mine.tensor];
  const sb_tensor_info *info = tensors[mine.tensor];
  return sb_fail(SB_ERR_NUMERIC,
                 "%s: tensor %s has a NaN or an infinity at [%" PRIu64 ", %" PRIu64 "]", info->file,
                 t->name, mine.element / t->cols, mine.element % t->cols);
}
