/* shardbits quantize: its command line. */
#include "cli/quantize.h"
#include "quant/moments.h"
#include "sensitivity/channels.h"
#include "sensitivity/estimator.h"
#include "sensitivity/reorder.h"

const char *const sb_quantize_methods[] = {"scalebits", "table", "layer", "rtn", NULL};
const char *const sb_quantize_quantizers[] = {"rtn", "gptq", NULL};
const char *const sb_quantize_grids[] = {"auto", "plain", "fitted", NULL};
enum { UNSET = -1 };
static const char *const channel_scores[] = {
    [SB_CHANNELS_SQUARE] = "square", [SB_CHANNELS_ABSOLUTE] = "abs", NULL};

void sb_quantize_settle_quantizer(int method, bool calibrates, int *quantizer) {
  if (*quantizer == SB_QUANTIZER_UNSET)
    *quantizer = calibrates && method != SB_METHOD_RTN ? SB_QUANTIZER_GPTQ : SB_QUANTIZER_RTN;
}

void sb_quantize_settle_search(int quantizer, bool starts_uniform, int *estimator, int *strides) {
  if (*estimator == SB_ESTIMATOR_UNSET)
    *estimator = quantizer == SB_QUANTIZER_GPTQ ? SB_ESTIMATOR_FISHER : SB_ESTIMATOR_DIVERGENCE;
  if (*strides == SB_STRIDES_UNSET)
    *strides = *estimator != SB_ESTIMATOR_DIVERGENCE || starts_uniform ? 2 : 0;
}

size_t sb_quantize_settle_tune(int quantizer, size_t tune_seqs, size_t round_seqs) {
  if (tune_seqs != SB_TUNE_UNSET) return tune_seqs;
  return quantizer == SB_QUANTIZER_GPTQ ? round_seqs : 0;
}

sb_status sb_quantize_parse(const sb_world *world, int argc, char **argv,
                            sb_quantize_request *request, bool *help) {
  *request = (sb_quantize_request){.round_seqs = 256,
                                   .quantizer = SB_QUANTIZER_UNSET,
                                   .reorder = UNSET,
                                   .estimator = SB_ESTIMATOR_UNSET,
                                   .strides = SB_STRIDES_UNSET,
                                   .first_share = 0.03,
                                   .max_bits = 8,
                                   .trades = 8,
                                   .refine = SB_REFINE_PASSES,
                                   .tune_seqs = SB_TUNE_UNSET,
                                   .level = 1,
                                   .common = SB_COMMON_DEFAULTS};
  const sb_argument arguments[] = {
      {"MODEL", &request->model, "A Hugging Face folder: config.json and safetensors."}};
  const sb_option options[] = {
      {.name = "calib",
       .kind = SB_OPTION_STRING,
       .value = &request->calib,
       .operand = "TOKENS",
       .help = "Calibration tokens, .bin or .npy (tools/tokenize.py makes them)."},
      {.name = "bits",
       .letter = 'b',
       .kind = SB_OPTION_REAL,
       .value = &request->bits,
       .low = 0.5,
       .high = 16,
       .operand = "B",
       .required = true,
       .help = "Budget in effective bits a weight: codes, scales, zero points and bit map of the "
               "decoder "
               "layers' matrices."},
      {.name = "out",
       .letter = 'o',
       .kind = SB_OPTION_STRING,
       .value = &request->out,
       .operand = "OUT",
       .required = true,
       .help = "Folder to write; it appears when it is complete."},
      {.name = "method",
       .kind = SB_OPTION_CHOICE,
       .value = &request->method,
       .choices = sb_quantize_methods,
       .help =
           "scalebits searches; table and layer choose all widths at once, of blocks or of whole "
           "matrices, from "
           "sensitivities at full precision (diagonal, or --sensitivity hessian); rtn is the "
           "uniform "
           "baseline, the largest width that fits the budget."},
      {.name = "quantizer",
       .kind = SB_OPTION_CHOICE,
       .value = &request->quantizer,
       .choices = sb_quantize_quantizers,
       .unset = "gptq; rtn for --method rtn and without --calib",
       .help = "How weights are rounded to the bits found: to nearest, which is quick, or so that "
               "errors make "
               "up for each other."},
      {.name = "grid",
       .kind = SB_OPTION_CHOICE,
       .value = &request->grid,
       .choices = sb_quantize_grids,
       .unset = "fitted; plain for --method rtn and without --calib",
       .help = "Range of a group's codes: plain spans all its weights, fitted is shrunk where that "
               "makes the "
               "error of the outputs less."},
      {.name = "reorder",
       .kind = SB_OPTION_CHOICE,
       .value = &request->reorder,
       .choices = sb_reorder_names,
       .unset = "fused; none for --method rtn and layer",
       .help = "Puts channels in an order that gathers what is sensitive in few blocks: any order, "
               "stored "
               "and counted "
               "(indexed), or one that leaves the model an ordinary one (fused)."},
      {.name = "reorder-score",
       .kind = SB_OPTION_CHOICE,
       .value = &request->channel_score,
       .choices = channel_scores,
       .help = "What channels are sorted by: sums of squared or of absolute first-order changes of "
               "the loss."},
      {.name = "round-seqs",
       .kind = SB_OPTION_SIZE,
       .value = &request->round_seqs,
       .low = 1,
       .high = 1e9,
       .operand = "N",
       .help = "Most sequences whose activations guide --quantizer gptq."},
      {.name = "refine",
       .kind = SB_OPTION_INT,
       .value = &request->refine,
       .low = 0,
       .high = 1000,
       .operand = "N",
       .help = "Passes of coordinate descent over codes and scales after --quantizer gptq; 0: what "
               "is usually "
               "called GPTQ."},
      {.name = "tune-seqs",
       .kind = SB_OPTION_SIZE,
       .value = &request->tune_seqs,
       .low = 0,
       .high = 1e9,
       .operand = "N",
       .unset = "as --round-seqs with --quantizer gptq, else 0",
       .help = "Most sequences on which scales are trained after rounding, a gradient each, "
               "towards what the "
               "source weights predict; 0: "
               "none."},
      {.name = "tune-batch",
       .kind = SB_OPTION_SIZE,
       .value = &request->tune_batch,
       .low = 1,
       .high = 1e9,
       .operand = "N",
       .unset = "a 32nd of --tune-seqs",
       .help = "Sequences of one step of that; with fewer than ranks, some of these have nothing "
               "to do."},
      {.name = "tune-rate",
       .kind = SB_OPTION_REAL,
       .value = &request->tune_rate,
       .low = 1e-6,
       .high = 1,
       .operand = "X",
       .unset = "0.02 for steps of 8 sequences, growing with the root of their number",
       .help =
           "What a level of a grid moves by at most in one of the first steps of that, in scales."},
      {.name = "factor",
       .kind = SB_OPTION_CHOICE,
       .value = &request->factor,
       .choices = sb_factor_mode_names,
       .help =
           "Where --quantizer gptq keeps and factorises second moments: on every rank, or spread "
           "over all "
           "ranks, in double or in single precision; auto spreads those too large for a rank. Only "
           "replicated gives the same on any number of ranks, bit for bit."},
      {.name = "sensitivity",
       .kind = SB_OPTION_CHOICE,
       .value = &request->estimator,
       .choices = sb_estimator_names,
       .unset = "fisher; divergence with --quantizer rtn",
       .help = "What predicts a move's effect: first-order change of the divergence from the "
               "source weights' "
               "predictions, which is then what decides; mean squared or mean absolute first-order "
               "change of the "
               "loss over sequences; second moments of inputs and output gradients; squares of "
               "gradients; first "
               "order and mean square together."},
      {.name = "allocation",
       .kind = SB_OPTION_STRING,
       .value = &request->allocation,
       .operand = "FILE",
       .help = "Bit map: taken from FILE when it exists, else found and saved there."},
      {.name = "checkpoint",
       .kind = SB_OPTION_STRING,
       .value = &request->checkpoint,
       .operand = "FILE",
       .help = "Saves the search in FILE after every step, and layers rounded by gptq in "
               "FILE.rounded.. and "
               "scales in training in FILE.trained.. until the output is complete; goes on from "
               "there when "
               "they exist: with the same model, tokens and options, on any number of ranks."},
      {.name = "check-seqs",
       .kind = SB_OPTION_SIZE,
       .value = &request->check_seqs,
       .low = 0,
       .high = 1e9,
       .operand = "N",
       .help = "Sequences kept apart from those that give gradients, whose loss decides whether a "
               "trade stays; "
               "0: the loss of all decides."},
      {.name = "symmetric",
       .kind = SB_OPTION_FLAG,
       .value = &request->symmetric,
       .help = "Grids without zero points."},
      {.name = "min-bits",
       .kind = SB_OPTION_INT,
       .value = &request->min_bits,
       .low = 0,
       .high = 8,
       .operand = "N",
       .unset = "2, or 1 where the budget is below uniform 2 bits",
       .help = "Least width of a block."},
      {.name = "max-bits",
       .kind = SB_OPTION_INT,
       .value = &request->max_bits,
       .low = 1,
       .high = 8,
       .operand = "N",
       .help = "Greatest width of a block."},
      {.name = "start-bits",
       .kind = SB_OPTION_INT,
       .value = &request->start_bits,
       .low = 0,
       .high = 8,
       .operand = "N",
       .unset = "just above the budget",
       .help = "Uniform width that strides start from."},
      {.name = "strides",
       .kind = SB_OPTION_INT,
       .value = &request->strides,
       .low = 0,
       .high = 1000,
       .operand = "N",
       .unset = "2; with --sensitivity divergence 0, unless --start-bits is given",
       .help = "Steps from a uniform start to the budget, one gradient pass each; 0: the search "
               "starts from "
               "what costs of all widths choose."},
      {.name = "trades",
       .kind = SB_OPTION_INT,
       .value = &request->trades,
       .low = 0,
       .high = 10000,
       .operand = "N",
       .help = "Batches of raises and cuts tried at the budget; 0 stops where the path ends "
               "(one-shot)."},
      {.name = "trade-share",
       .kind = SB_OPTION_REAL,
       .value = &request->first_share,
       .low = 1e-6,
       .high = 1,
       .operand = "X",
       .help =
           "Share of the budget that the first trade moves; halved when a trade is taken back."},
      {.name = "level",
       .kind = SB_OPTION_INT,
       .value = &request->level,
       .low = 1,
       .high = 19,
       .operand = "N",
       .help = "zstd's compression level."},
      {.name = "overwrite",
       .kind = SB_OPTION_FLAG,
       .value = &request->overwrite,
       .help = "Replace OUT when it is there."},
  };
  sb_usage usage = {
      .command = "quantize",
      .synopsis = "MODEL --calib TOKENS --bits B -o OUT [options]",
      .purpose = "Finds the bitwidth of every block of every matrix of the decoder layers, so that "
                 "the model loses\n"
                 "least under the budget, and writes compressed shards, one a rank. The result is "
                 "the same on any\n"
                 "number of ranks.",
      .examples = "  mpirun -n 2 shardbits quantize smollm2 --calib calib.bin --bits 3.25 -o out\n"
                  "  shardbits quantize smollm2 --method rtn --bits 3.25 -o out-rtn\n"
                  "  srun shardbits quantize Llama-3-70B --calib calib.bin --bits 2.5 -o out "
                  "--json run.json",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = sizeof options / sizeof *options};
  request->common.calibrates = true;
  SB_TRY(sb_common_begin(world, &usage, &request->common,
                         SB_COMMON_SEQUENCES | SB_COMMON_SEED | SB_COMMON_COMPUTE |
                             SB_COMMON_DEVICE | SB_COMMON_TOKENS | SB_COMMON_BLOCK |
                             SB_COMMON_ACTIVATIONS,
                         argc, argv, help));
  if (*help) return SB_OK;
  if (request->min_bits > request->max_bits)
    return sb_fail(SB_ERR_USAGE, "quantize: --min-bits %d is above --max-bits %d",
                   request->min_bits, request->max_bits);
  sb_quantize_settle_quantizer(request->method, request->calib != NULL, &request->quantizer);
  sb_quantize_settle_search(request->quantizer, request->start_bits != 0, &request->estimator,
                            &request->strides);
  request->tune_seqs =
      sb_quantize_settle_tune(request->quantizer, request->tune_seqs, request->round_seqs);
  if (request->start_bits != 0 && request->strides == 0)
    return sb_fail(
        SB_ERR_USAGE,
        "quantize: --start-bits is where --strides start from, and --strides 0 takes none");
  if (request->reorder == UNSET) {
    const bool gathers =
        request->method == SB_METHOD_SCALEBITS || request->method == SB_METHOD_TABLE;
    request->reorder = gathers ? SB_REORDER_FUSED : SB_REORDER_NONE;
  }
  if (request->grid == SB_GRID_UNSET)
    request->grid =
        request->method == SB_METHOD_RTN || !request->calib ? SB_GRID_PLAIN : SB_GRID_FITTED;
  bool searches = request->method != SB_METHOD_RTN && !request->allocation;
  bool reorders = request->reorder != SB_REORDER_NONE && !request->allocation;
  if (!request->calib && (searches || reorders || request->quantizer == SB_QUANTIZER_GPTQ ||
                          request->grid == SB_GRID_FITTED || request->tune_seqs > 0))
    return sb_fail(
        SB_ERR_USAGE,
        "quantize: --calib TOKENS is needed (only --method rtn with --quantizer rtn, --grid plain, "
        "--reorder none and --tune-seqs 0 do without)");
  return SB_OK;
}
