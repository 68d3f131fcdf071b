#include "pass/sequences.h"

#include "base/memory.h"
#include "base/random.h"

/* SplitMix64: a Weyl sequence, mixed. */
static uint64_t next_random(uint64_t *state) {
  return sb_mix64(*state += UINT64_C(0x9e3779b97f4a7c15));
}

/* chosen[0..take) = ascending window numbers. Sampling goes window by window: each is taken with
 * probability (still wanted) / (still left), which gives every subset the same chance. */
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
    SB_TRY(
        sb_tokens_read(tokens, window * out->seqlen, out->seqlen, out->tokens + i * out->seqlen));
  }
  return SB_OK;
}

/* Rank 0 finds out how the ids lie, for all. Collective. */
static sb_status open_shared(const sb_world *world, const char *path, sb_token_width width,
                             size_t vocab, sb_tokens **out) {
  sb_token_layout layout = {0};
  sb_status status = world->rank == 0 ? sb_tokens_open(path, width, vocab, out) : SB_OK;
  SB_AGREE(world, status);
  if (world->rank == 0) layout = *sb_tokens_layout(*out);
  SB_MPI(MPI_Bcast(&layout, (int)sizeof layout, MPI_BYTE, 0, world->comm));
  if (world->rank != 0) status = sb_tokens_open_as(path, &layout, vocab, out);
  return sb_world_agree(world, status);
}

sb_status sb_sequences_read(const sb_world *world, const char *path, sb_token_width width,
                            size_t vocab, size_t seqlen, size_t most, uint64_t seed,
                            sb_sequences *out) {
  sb_status status = SB_OK;
  sb_tokens *tokens = NULL;
  size_t *chosen = NULL, windows;
  *out = (sb_sequences){.seqlen = seqlen};
  SB_GO(open_shared(world, path, width, vocab, &tokens));
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

/* Window i of n is one of the m that check when a multiple of n / m lies in (i, i + 1]. */
static bool checks(size_t i, size_t n, size_t m) {
  return (unsigned __int128)(i + 1) * m / n > (unsigned __int128)i * m / n;
}

sb_status sb_sequences_read_two(const sb_world *world, const char *path, sb_token_width width,
                                size_t vocab, size_t seqlen, size_t most, size_t check,
                                uint64_t seed, sb_sequences *out, sb_sequences *out_check) {
  sb_status status = SB_OK;
  sb_tokens *tokens = NULL;
  size_t *chosen = NULL, *split = NULL, windows, n = most + check, at[2] = {0, most};
  *out = (sb_sequences){.seqlen = seqlen, .count = most};
  *out_check = (sb_sequences){.seqlen = seqlen, .count = check};
  SB_GO(open_shared(world, path, width, vocab, &tokens));
  SB_GO(sb_tokens_sequences(tokens, seqlen, 0, &windows));
  if (windows < n) {
    status = sb_fail(
        SB_ERR_RANGE,
        "%s: has %zu sequences of %zu tokens, %zu for gradients and %zu to check trades are asked "
        "for; lower --seqs or --check-seqs, or give more text",
        path, windows, seqlen, most, check);
    goto done;
  }
  SB_GO(sb_alloc(&chosen, n, sizeof *chosen, "sequences"));
  SB_GO(sb_alloc(&split, n, sizeof *split, "sequences"));
  choose(windows, n, seed, chosen);
  for (size_t i = 0; i < n; i++) split[at[checks(i, n, check)]++] = chosen[i];
  SB_GO(read_local(world, tokens, split, out));
  SB_GO(read_local(world, tokens, split + most, out_check));
done:
  sb_tokens_close(&tokens);
  sb_free(&chosen);
  sb_free(&split);
  status = sb_world_agree(world, status);
  if (status != SB_OK) {
    sb_sequences_free(out);
    sb_sequences_free(out_check);
  }
  return status;
}

sb_pass_setup sb_sequences_setup(const sb_sequences *sequences, sb_model *model,
                                 sb_backend *backend, size_t activation_bytes, sb_ticker ticker) {
  return (sb_pass_setup){.model = model,
                         .backend = backend,
                         .tokens = sequences->tokens,
                         .sequences = sequences->count,
                         .seqlen = sequences->seqlen,
                         .activation_bytes = activation_bytes,
                         .ticker = ticker};
}

void sb_sequences_free(sb_sequences *sequences) {
  sb_free(&sequences->tokens);
}
