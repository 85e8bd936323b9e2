#include "tool/command_line.h"

#include <CLI/CLI.hpp>
#include <map>

#include "core/error.h"
#include "core/version.h"

namespace amaq::tool {
namespace {

constexpr const char kSummary[] =
    "Codes tensors as they cross the wire, decodes them, and shows what a message is made of.";
constexpr const char kFooter[] =
    "Files: tensors are .npy (fp32, fp16) or .safetensors (F32, BF16, F16); every other name is a\n"
    "message, made by `amaq-codec encode` or captured with wire.capture_dir.\n\n"
    "Examples:\n"
    "  amaq-codec inspect activations.npy --bits 4\n"
    "  amaq-codec encode model.safetensors x.frame --tensor h.7 --target-bits 3\n"
    "  amaq-codec inspect x.frame --against model.safetensors --against-tensor h.7\n"
    "  amaq-codec inspect out/capture/step00000012.attempt0.mb0000.BACKWARD.down.frame\n"
    "  amaq-codec decode x.frame x.npy\n\n"
    "Exit codes: 0 done, 1 error, 2 wrong usage.";

const std::map<std::string, quant::Range> kRanges = {{"minmax", quant::Range::kMinMax},
                                                     {"absmax", quant::Range::kAbsMax},
                                                     {"percentile", quant::Range::kPercentile},
                                                     {"mae", quant::Range::kMae}};
const std::map<std::string, quant::Rounding> kRoundings = {
    {"nearest", quant::Rounding::kNearestEven}, {"stochastic", quant::Rounding::kStochastic}};

void AddWidths(CLI::App* command, CodingOptions* coding, const std::string& who) {
  const auto bits = command->add_option("--bits", coding->bits, "One width for all channels, 0-8");
  const auto file = command->add_option("--widths", coding->widths_file,
                                        "File of widths, one a channel, separated by blanks");
  bits->excludes(file)->group(who);
  file->group(who);
  bits->type_name("N");
  file->type_name("FILE");
}

void AddCoding(CLI::App* command, CodingOptions* coding) {
  const std::string group = "How a tensor is coded";
  AddWidths(command, coding, group);
  CLI::Option* target = command->add_option(
      "--target-bits", coding->target_bits,
      "Mean width; channels get what makes the squared error smallest (water-filling)");
  target->excludes("--bits")->excludes("--widths")->type_name("X")->group(group);
  const auto add_bound = [&](const char* name, double* value, const char* help) {
    command->add_option(name, *value, help)
        ->needs(target)
        ->type_name("X")
        ->group(group)
        ->capture_default_str();
  };
  add_bound("--b-min", &coding->b_min, "Smallest width with --target-bits");
  add_bound("--b-max", &coding->b_max, "Largest width with --target-bits");
  command
      ->add_option("--range", coding->range,
                   "Range of a channel: minmax, absmax, percentile or mae")
      ->transform(CLI::CheckedTransformer(kRanges, CLI::ignore_case).description(""))
      ->type_name("NAME")
      ->group(group)
      ->default_str("minmax");
  command
      ->add_option("--range-percentile", coding->range_percentile,
                   "Per cent of the values inside the range, with --range percentile")
      ->type_name("X")
      ->group(group)
      ->capture_default_str();
  command->add_option("--rounding", coding->rounding, "nearest or stochastic")
      ->transform(CLI::CheckedTransformer(kRoundings, CLI::ignore_case).description(""))
      ->type_name("NAME")
      ->group(group)
      ->default_str("nearest");
  command->add_option("--seed", coding->seed, "Key of stochastic rounding")
      ->type_name("N")
      ->group(group)
      ->capture_default_str();
  command->add_option("--sink-rows", coding->sink_rows, "First rows that are kept as bf16")
      ->type_name("N")
      ->group(group)
      ->capture_default_str();
}

void AddGroupSize(CLI::App* command, Options* options) {
  command
      ->add_option("--group-size", options->group_size,
                   "quant.group_size of a captured message, where several fit")
      ->check(CLI::Range(32, 128))
      ->type_name("N");
}

void AddTensor(CLI::App* command, std::string* tensor, const char* help) {
  command->add_option("--tensor", *tensor, help)->type_name("NAME");
}

CLI::App* AddEncode(CLI::App* app, Options* options) {
  CLI::App* command = app->add_subcommand("encode", "Code a tensor and write it as a message");
  command->add_option("INPUT", options->input, "Tensor file")->required()->type_name("");
  command->add_option("OUTPUT", options->output, "Message file")->required()->type_name("");
  AddTensor(command, &options->tensor, "Which tensor of a .safetensors file");
  AddCoding(command, &options->coding);
  return command;
}

CLI::App* AddDecode(CLI::App* app, Options* options) {
  CLI::App* command =
      app->add_subcommand("decode", "Decode a message and write its tensor as fp32");
  command->add_option("INPUT", options->input, "Message file")->required()->type_name("");
  command->add_option("OUTPUT", options->output, "Tensor file, .npy or .safetensors")
      ->required()
      ->type_name("");
  AddTensor(command, &options->tensor, "Name of the tensor in a .safetensors output [tensor]");
  AddWidths(command, &options->coding, "Widths of a captured message whose folder lacks them");
  AddGroupSize(command, options);
  return command;
}

CLI::App* AddInspect(CLI::App* app, Options* options) {
  CLI::App* command = app->add_subcommand(
      "inspect", "Show sections, widths, ranges, codes and error of a message or tensor");
  command->add_option("INPUT", options->input, "Message file, or tensor file to try a coding on")
      ->required()
      ->type_name("");
  AddTensor(command, &options->tensor, "Which tensor of a .safetensors file");
  command->add_option("--against", options->against, "The original: a tensor file or a message")
      ->type_name("FILE");
  command->add_option("--against-tensor", options->against_tensor, "Which tensor of the original")
      ->type_name("NAME");
  command->add_flag("--json", options->is_json, "Write JSON");
  AddGroupSize(command, options);
  AddCoding(command, &options->coding);
  return command;
}

Exit UsageError(const std::string& sentence) {
  return {.code = 2, .err_text = StrCat("amaq-codec: ", sentence, "\nTry amaq-codec --help\n")};
}

}  // namespace

std::variant<Invocation, Exit> ParseCommandLine(int argc, const char* const* argv) {
  Options options;
  CLI::App app(kSummary, "amaq-codec");
  app.footer(kFooter);
  app.get_formatter()->column_width(34);
  app.set_version_flag("--version", StrCat("amaq-codec ", kVersion));
  app.require_subcommand(1);
  const std::pair<CLI::App*, std::string (*)(const Options&)> commands[] = {
      {AddEncode(&app, &options), RunEncode},
      {AddDecode(&app, &options), RunDecode},
      {AddInspect(&app, &options), RunInspect}};
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Exit{.out_text = app.help()};
  } catch (const CLI::CallForVersion& version) {
    return Exit{.out_text = StrCat(version.what(), "\n")};
  } catch (const CLI::ParseError& error) {
    return UsageError(error.what());
  }
  for (const auto& [command, run] : commands) {
    if (command->parsed()) return Invocation{run, options};
  }
  return UsageError("a command is missing: encode, decode or inspect");
}

}  // namespace amaq::tool
