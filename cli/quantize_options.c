/* The options of quantize, and of plan where these have a part in memory and time. */
#include "base/check.h"
#include "base/limits.h"
#include "cli/quantize_request.h"

/* Sections of --help. */
#define SEARCH      "search of bits"
#define TABLES      "embedding and LM head"
#define ROUNDING    "rounding"
#define TUNING      "training of scales, after rounding"
#define PLANNED_RUN "how quantize will be run" /* of plan, whose own options come first */

enum { PLANNED = 1 }; /* an option of plan too */

typedef struct entry {
  int planned;
  sb_option option;
} entry;

static size_t append(const entry *entries, size_t count, sb_quantize_set set, sb_option *table) {
  size_t n = 0;
  for (size_t i = 0; i < count; i++) {
    if (set == SB_QUANTIZE_PLANNED && !entries[i].planned) continue;
    table[n] = entries[i].option;
    if (set == SB_QUANTIZE_PLANNED && !table[n].section) table[n].section = PLANNED_RUN;
    n++;
  }
  return n;
}

static size_t main_options(sb_quantize_request *r, sb_quantize_set set, sb_option *table) {
  const entry entries[] = {
      {0,
       {.name = "calib",
        .kind = SB_OPTION_STRING,
        .value = &r->calib,
        .file = SB_FILE_READ,
        .operand = "TOKENS|TEXT",
        .help =
            "What to calibrate on: tokens (.bin or .npy), or text (.txt; .jsonl with a \"text\" "
            "or a conversation a line), which the model's tokenizer.json turns into tokens."}},
      {PLANNED,
       {.name = "bits",
        .letter = 'b',
        .kind = SB_OPTION_REAL,
        .value = &r->bits,
        .given = &r->given.bits,
        .low = sb_limit_least_budget,
        .high = sb_limit_most_budget,
        .operand = "B",
        .unset = set == SB_QUANTIZE_ALL ? "this or --size is required" : "3.25",
        .help = "Budget in effective bits per weight: codes, scales, zero points and bit map of "
                "the decoder layers' matrices."}},
      {PLANNED,
       {.name = "size",
        .kind = SB_OPTION_BYTES,
        .value = &r->size,
        .operand = "SIZE",
        .help = "Budget for the weights of the whole output folder, as 3.2GiB (GiB, GB, MiB or "
                "MB): layers, embedding, LM head, norms, side information. In place of --bits."}},
      {0,
       {.name = "out",
        .letter = 'o',
        .kind = SB_OPTION_STRING,
        .value = &r->out,
        .file = SB_FILE_FOLDER,
        .operand = "OUT",
        .required = true,
        .help = "Folder to write; it appears when it is complete."}},
      {0,
       {.name = "overwrite",
        .kind = SB_OPTION_FLAG,
        .value = &r->overwrite,
        .help = "Replace OUT if it exists."}},
      {0,
       {.name = "method",
        .given = &r->given.method,
        SB_OPTION_ENUM(r->method, sb_method_names),
        .help = "scalebits searches. table and layer choose all widths at once, of blocks or of "
                "whole matrices, from sensitivities at full precision (diagonal, or --sensitivity "
                "hessian). rtn is the uniform baseline: the largest width that fits the budget."}},
      {PLANNED,
       {.name = "quantizer",
        .given = &r->given.quantizer,
        SB_OPTION_ENUM(r->quantizer, sb_quantizer_names),
        .unset = set == SB_QUANTIZE_ALL ? "gptq; rtn for --method rtn and without --calib" : "gptq",
        .help = "How weights are rounded to the bits found: each to the nearest code (rtn), which "
                "is quick, or so that later weights make up for the errors of earlier ones "
                "(gptq)."}},
      {PLANNED,
       {.name = "grid",
        SB_OPTION_ENUM(r->grid, sb_grid_names),
        .unset = set == SB_QUANTIZE_ALL ? "fitted; plain for --method rtn and without --calib"
                                        : "fitted",
        .help = "Range of a group's codes: plain spans all its weights; fitted is narrower where "
                "that lessens the error of the outputs, for one forward pass more."}},
      {PLANNED,
       {.name = "reorder",
        .given = &r->given.reorder,
        SB_OPTION_ENUM(r->reorder, sb_reorder_names),
        .unset = set == SB_QUANTIZE_ALL ? "fused; none for --method rtn and layer" : "fused",
        .help = "Order of channels that gathers what is sensitive in few blocks: any order, which "
                "is stored and counted (indexed), or one that leaves the model an ordinary one "
                "(fused). Takes one gradient pass more."}},
      {0,
       {.name = "reorder-score",
        SB_OPTION_ENUM(r->channel_score, sb_channel_score_names),
        .help = "What channels are sorted by: sums of squared or of absolute first-order changes "
                "of the loss."}},
      {PLANNED,
       {.name = "codes",
        .given = &r->given.codes,
        SB_OPTION_ENUM(r->codes, sb_codes_names),
        .help = "What codes stand for. grid: levels of each group of weights. trellis: walks over "
                "states in transformed coordinates, at the same bits with less error."}},
      {PLANNED,
       {.name = "trellis-states",
        .given = &r->given.trellis_states,
        SB_OPTION_ENUM(r->trellis_states, sb_trellis_states_names),
        .help = "States of --codes trellis, as a power of two: more have less error, and take "
                "longer to find codes."}},
      {PLANNED,
       {.name = "widths-for",
        SB_OPTION_ENUM(r->widths_for, sb_widths_for_names),
        .help =
            "Who else is to read the result: its widths, its groups (the columns of --block), its "
            "levels, and one width for what it computes as one product. vllm: 2 to 8 bits. "
            "sglang: 4 or 8. gptq: 2, 3, 4 or 8. mlx: 2 to 6 or 8. exl3: trellis codes of "
            "exllamav3, one width for each matrix (--method layer or rtn), sides that are "
            "multiples of 128."}},
      {PLANNED,
       {.name = "tensor-parallel",
        .kind = SB_OPTION_SIZE,
        .value = &r->tensor_parallel,
        .low = 1,
        .high = 1024,
        .operand = "N",
        .help = "Ranks of the server among which --widths-for vllm or sglang can cut the matrices: "
                "a group lies on one of them whole.",
        .unset = "1"}},
      {0,
       {.name = "grid-kind",
        .given = &r->given.grid_kind,
        SB_OPTION_ENUM(r->grid_kind, sb_grid_kind_names),
        .help = "Levels of a group of weights. asymmetric: a zero point each. symmetric: none, and "
                "no level at 0. signed: none, a level at 0 and one more at one side, as servers "
                "with symmetric kernels have it; from 2 bits on. by-width: symmetric up to 2 bits, "
                "signed above."}},
      {0,
       {.name = "scale-type",
        .given = &r->given.scale_type,
        SB_OPTION_ENUM(r->scale_type, sb_scale_type_names),
        .help = "What scales are rounded to while they are chosen and trained. bf16: 8 significant "
                "bits, so that a server that keeps scales in bf16 loses nothing. 6bit: 5 "
                "significant bits, stored in 6, relative to their block: of a budget, 10 more bits "
                "a group go into codes."}},
      {0,
       {.name = "symmetric",
        .kind = SB_OPTION_FLAG,
        .value = &r->symmetric,
        .help = "The same as --grid-kind symmetric."}},
      {0,
       {.name = "allocation",
        .kind = SB_OPTION_STRING,
        .value = &r->allocation,
        .file = SB_FILE_FOUND,
        .operand = "FILE",
        .help = "Bit map: read from FILE if it exists, else found and saved there."}},
      {0,
       {.name = "checkpoint",
        .kind = SB_OPTION_STRING,
        .value = &r->checkpoint,
        .file = SB_FILE_KEPT,
        .operand = "FILE",
        .help = "Saves the search in FILE after every step (of trellis codes: once it is done), "
                "layers rounded by gptq in "
                "FILE.rounded.. and scales in training in FILE.trained.., until the output is "
                "complete. A later run with the same model, tokens and options, on any number of "
                "ranks, goes on from there."}},
      {0,
       {.name = "level",
        .kind = SB_OPTION_INT,
        .value = &r->level,
        .low = 1,
        .high = 19,
        .operand = "N",
        .help = "Compression level of zstd."}},
  };
  return append(entries, sizeof entries / sizeof *entries, set, table);
}

static size_t search_options(sb_quantize_request *r, sb_quantize_set set, sb_option *table) {
  const entry entries[] = {
      {PLANNED,
       {.name = "sensitivity",
        .section = SEARCH,
        .given = &r->given.estimator,
        SB_OPTION_ENUM(r->estimator, sb_estimator_names),
        .unset = "fisher; divergence with --quantizer rtn",
        .help = "What predicts the effect of a block's bits. divergence: first-order change of "
                "the divergence from the source model's predictions, which then also decides; "
                "fisher, taylor: mean squared, mean absolute first-order change of the loss; "
                "hessian: second moments of inputs and output gradients; diagonal: squared "
                "gradients; second: first order and mean square together."}},
      {PLANNED,
       {.name = "strides",
        .section = SEARCH,
        .kind = SB_OPTION_INT,
        .value = &r->strides,
        .given = &r->given.strides,
        .low = 0,
        .high = 1000,
        .operand = "N",
        .unset = set == SB_QUANTIZE_ALL
                     ? "2; with --sensitivity divergence 0, unless --start-bits is given"
                     : "2; with --sensitivity divergence 0",
        .help = "Steps from uniform bits to the budget, one gradient pass each. 0: the search "
                "starts from the cost of each width of each block."}},
      {PLANNED,
       {.name = "trades",
        .section = SEARCH,
        .kind = SB_OPTION_INT,
        .value = &r->trades,
        .given = &r->given.trades,
        .low = 0,
        .high = 10000,
        .operand = "N",
        .help = "Batches of raises and cuts tried at the budget: a check of the loss each, and a "
                "gradient pass for each that is kept. 0 stops where the strides end."}},
      {0,
       {.name = "trade-share",
        .section = SEARCH,
        .given = &r->given.first_share,
        .kind = SB_OPTION_REAL,
        .value = &r->first_share,
        .low = 1e-6,
        .high = 1,
        .operand = "X",
        .help = "Share of the budget that the first trade moves; halved when a trade is taken "
                "back."}},
      {PLANNED,
       {.name = "check-seqs",
        .section = SEARCH,
        .kind = SB_OPTION_SIZE,
        .value = &r->check_seqs,
        .low = 0,
        .high = 1e9,
        .operand = "N",
        .help = "Sequences kept apart from those that give gradients, whose loss decides whether "
                "a trade stays. 0: the loss of all decides."}},
      {0,
       {.name = "min-bits",
        .section = SEARCH,
        .kind = SB_OPTION_UNSIGNED,
        .value = &r->min_bits,
        .low = 0,
        .high = (double)sb_limit_bits.most,
        .operand = "N",
        .unset = "2; 1 with --codes trellis, or where the budget is below uniform 2 bits",
        .help = "Fewest bits of a block."}},
      {0,
       {.name = "max-bits",
        .section = SEARCH,
        .kind = SB_OPTION_UNSIGNED,
        .value = &r->max_bits,
        .low = 1,
        .high = (double)sb_limit_bits.most,
        .operand = "N",
        .help = "Most bits of a block."}},
      {0,
       {.name = "start-bits",
        .section = SEARCH,
        .kind = SB_OPTION_UNSIGNED,
        .value = &r->start_bits,
        .low = 0,
        .high = (double)sb_limit_bits.most,
        .operand = "N",
        .unset = "just above the budget",
        .help = "Uniform bits that strides start from."}},
  };
  return append(entries, sizeof entries / sizeof *entries, set, table);
}

static size_t table_options(sb_quantize_request *r, sb_quantize_set set, sb_option *table) {
  const entry entries[] = {
      {PLANNED,
       {.name = "embed-bits",
        .section = TABLES,
        .kind = SB_OPTION_UNSIGNED,
        .value = &r->embed_bits,
        .given = &r->given.embed_bits,
        .low = 1,
        .high = SB_SOURCE_BITS,
        .operand = "N",
        .unset = set == SB_QUANTIZE_ALL ? "chosen; 16 for readers that take them as they are "
                                          "(exl3, vllm, sglang), and for --method rtn and "
                                          "without --calib unless --size is given"
                                        : "chosen",
        .help = "Width of the embedding, 1 to 8 bits. 16: it stays as it is. Chosen, each of its "
                "blocks gets the width at which a byte buys as much as in the layers."}},
      {PLANNED,
       {.name = "head-bits",
        .section = TABLES,
        .kind = SB_OPTION_UNSIGNED,
        .value = &r->head_bits,
        .given = &r->given.head_bits,
        .low = 1,
        .high = SB_SOURCE_BITS,
        .operand = "N",
        .unset = set == SB_QUANTIZE_ALL ? "chosen; 16 for readers that take them as they are "
                                          "(exl3, vllm, sglang), and for --method rtn and "
                                          "without --calib unless --size is given"
                                        : "chosen",
        .help = "Width of the LM head; where it is tied to the embedding they have one width."}},
  };
  return append(entries, sizeof entries / sizeof *entries, set, table);
}

static size_t rounding_options(sb_quantize_request *r, sb_quantize_set set, sb_option *table) {
  const entry entries[] = {
      {PLANNED,
       {.name = "round-seqs",
        .section = ROUNDING,
        .kind = SB_OPTION_SIZE,
        .value = &r->round_seqs,
        .low = 1,
        .high = 1e9,
        .operand = "N",
        .help = "Most sequences whose activations guide --quantizer gptq."}},
      {PLANNED,
       {.name = "refine",
        .section = ROUNDING,
        .kind = SB_OPTION_INT,
        .value = &r->refine,
        .given = &r->given.refine,
        .low = 0,
        .high = 1000,
        .operand = "N",
        .help = "Passes of coordinate descent over codes and scales after --quantizer gptq. 0: "
                "plain GPTQ."}},
      {PLANNED,
       {.name = "factor",
        .section = ROUNDING,
        SB_OPTION_ENUM(r->factor, sb_factor_mode_names),
        .help = "Where --quantizer gptq keeps and factorises second moments: on every rank, or "
                "spread over all ranks, in double or in single precision. auto spreads those too "
                "large for a rank. Only replicated gives the same bits on any number of ranks."}},
      {PLANNED,
       {.name = "tune-seqs",
        .section = TUNING,
        .kind = SB_OPTION_SIZE,
        .value = &r->tune_seqs,
        .given = &r->given.tune_seqs,
        .low = 0,
        .high = 1e9,
        .operand = "N",
        .unset = "as --round-seqs with --quantizer gptq, else 0",
        .help = "Most sequences on which scales are trained towards the source model's "
                "predictions, one gradient each. 0: scales stay."}},
      {PLANNED,
       {.name = "tune-batch",
        .section = TUNING,
        .given = &r->given.tune_batch,
        .kind = SB_OPTION_SIZE,
        .value = &r->tune_batch,
        .low = 1,
        .high = 1e9,
        .operand = "N",
        .unset = "a 32nd of --tune-seqs",
        .help = "Sequences per step; with fewer than ranks, some ranks have no work."}},
      {0,
       {.name = "tune-rate",
        .section = TUNING,
        .given = &r->given.tune_rate,
        .kind = SB_OPTION_REAL,
        .value = &r->tune_rate,
        .low = 1e-6,
        .high = 1,
        .operand = "X",
        .unset = "0.02 for steps of 8 sequences, growing with the root of their number",
        .help = "Most that a level of a grid moves in one of the first steps, in scales."}},
      {PLANNED,
       {.name = "tune-epochs",
        .section = TUNING,
        .kind = SB_OPTION_INT,
        .value = &r->tune_epochs,
        .given = &r->given.tune_epochs,
        .low = 1,
        .high = 100,
        .operand = "N",
        .unset = "2 with --codes trellis, else 1",
        .help = "Times that all sequences are taken."}},
      {PLANNED,
       {.name = "tune-norms",
        .section = TUNING,
        .given = &r->given.tune_norms,
        SB_OPTION_ENUM(r->tune_norms, sb_yes_no_names),
        .unset = "yes with --codes trellis, else no",
        .help = "Weights of norms are trained with the scales."}},
      {PLANNED,
       {.name = "tune-tables",
        .section = TUNING,
        .given = &r->given.tune_tables,
        SB_OPTION_ENUM(r->tune_tables, sb_yes_no_names),
        .help = "Scales of embedding and LM head are trained too, where they have widths."}},
  };
  return append(entries, sizeof entries / sizeof *entries, set, table);
}

size_t sb_quantize_options(sb_quantize_request *r, sb_quantize_set set, sb_option *table) {
  size_t n = main_options(r, set, table);
  n += search_options(r, set, table + n);
  n += table_options(r, set, table + n);
  n += rounding_options(r, set, table + n);
  SB_ASSERT(n <= SB_QUANTIZE_OPTIONS_MAX);
  return n;
}

sb_status sb_quantize_parse(const sb_world *world, int argc, char **argv, sb_quantize_request *r,
                            bool *help) {
  *r = sb_quantize_defaults();
  const sb_argument arguments[] = {
      {"MODEL", &r->model, "A Hugging Face folder: config.json and safetensors."}};
  sb_option options[SB_QUANTIZE_OPTIONS_MAX];
  sb_usage usage = {
      .command = "quantize",
      .synopsis = "MODEL --calib TOKENS (--bits B | --size SIZE) -o OUT [options]",
      .purpose = "Finds the bits of every block of every matrix, so that the model loses\n"
                 "least under the budget, and writes compressed shards, one per rank. The result "
                 "is the same on any\n"
                 "number of ranks.",
      .examples = "  mpirun -n 2 shardbits quantize smollm2 --calib calib.bin --bits 3.25 -o out\n"
                  "  shardbits quantize smollm2 --method rtn --bits 3.25 -o out-rtn\n"
                  "  srun shardbits quantize Llama-3-70B --calib calib.bin --bits 2.5 -o out "
                  "--json run.json",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = sb_quantize_options(r, SB_QUANTIZE_ALL, options)};
  SB_TRY(sb_common_begin(world, &usage, &r->common,
                         SB_COMMON_SEQUENCES | SB_COMMON_SEED | SB_COMMON_COMPUTE |
                             SB_COMMON_DEVICE | SB_COMMON_TOKENS | SB_COMMON_BLOCK |
                             SB_COMMON_ACTIVATIONS | SB_COMMON_EVENTS,
                         argc, argv, help));
  return *help ? SB_OK : sb_quantize_settle(r, "quantize", r->calib != NULL);
}
