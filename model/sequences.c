#include "model/sequences.h"

#include "base/memory.h"
#include "model/pass.h"

/* One step of a 64-bit mixing generator (Weyl sequence and two xor-multiply rounds). */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* chosen[0..take) = ascending window numbers. Sampling goes window by window: each is taken with probability
 * (still wanted) / (still left), which gives every subset the same chance. */
static void choose(size_t windows, size_t take, uint64_t seed, size_t *chosen) {
  size_t taken = 0;
  uint64_t state = seed;
  for (size_t w = 0; w < windows && taken < take; w++) {
    bool in = seed == 0 ? w == (size_t)((unsigned __int128)taken * windows / take)
                        : next_random(&state) % (windows - w) < take - taken;
    if (in) chosen[taken++] = w;
  }
}

static sb_status read_local(const sb_world *world, const sb_tokens *tokens, const size_t *chosen,
                            sb_sequences *out) {
  out->local = sb_pass_local(world, out->count);
  SB_TRY(sb_alloc(&out->tokens, out->local * out->seqlen, sizeof *out->tokens, "tokens"));
  for (size_t i = 0; i < out->local; i++) {
    size_t window = chosen[i * (size_t)world->size + (size_t)world->rank];
    SB_TRY(sb_tokens_read(tokens, window * out->seqlen, out->seqlen, out->tokens + i * out->seqlen));
  }
  return SB_OK;
}

sb_status sb_sequences_read(const sb_world *world, const char *path, sb_token_width width, size_t vocab,
                            size_t seqlen, size_t most, uint64_t seed, sb_sequences *out) {
  sb_status status = SB_OK;
  sb_tokens *tokens = NULL;
  size_t *chosen = NULL, windows;
  *out = (sb_sequences){.seqlen = seqlen};
  SB_GO(sb_tokens_open(path, width, vocab, &tokens));
  SB_GO(sb_tokens_sequences(tokens, seqlen, 0, &windows));
  out->count = most == 0 ? windows : sb_min_size(most, windows);
  SB_GO(sb_alloc(&chosen, out->count, sizeof *chosen, "sequences"));
  choose(windows, out->count, seed, chosen);
  SB_GO(read_local(world, tokens, chosen, out));
done:
  sb_tokens_close(&tokens);
  sb_free(&chosen);
  status = sb_world_agree(world, status);
  if (status != SB_OK) sb_sequences_free(out);
  return status;
}

void sb_sequences_free(sb_sequences *sequences) {
  sb_free(&sequences->tokens);
}
