// amaq_entropy_report FOLDER...: what the entropy stage makes of the messages in folders that were
// captured with wire.capture_dir (each of one run with wire.entropy off): sizes in bits a value
// beside the entropies, and its speed beside memcpy. Writes Markdown table rows. See
// docs/benchmarks.md.

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "quant/codec.h"
#include "quant/entropy.h"
#include "quant/octet.h"
#include "transport/capture.h"

namespace amaq {
namespace {

struct Coded {
  std::vector<uint8_t> widths;
  uint64_t rows = 0;
  std::vector<uint8_t> zero_codes;
  std::vector<Section> sections;
  const Bytes& codes() const { return *FindSection(sections, SectionKind::kCodes); }
  quant::CodesShape shape() const { return {widths, rows, zero_codes}; }
  double num_values() const { return static_cast<double>(rows * widths.size()); }
};

// The last group's filling is taken for what it looks like: rows of code 0 at the end.
uint64_t RowsOf(const Bytes& codes, std::span<const uint8_t> widths) {
  const uint64_t group_bytes = quant::GroupBytes(widths);
  const uint64_t groups = codes.size() / group_bytes;
  std::vector<uint8_t> last(quant::kGroupTokens * widths.size());
  quant::UnpackGroup(ByteSpan(codes).subspan((groups - 1) * group_bytes), widths, last.data());
  uint64_t rows = quant::kGroupTokens;
  const auto is_zero = [&](uint64_t row) {
    const auto begin = last.begin() + static_cast<std::ptrdiff_t>(row * widths.size());
    return std::all_of(begin, begin + static_cast<std::ptrdiff_t>(widths.size()),
                       [](uint8_t code) { return code == 0; });
  };
  while (rows > 1 && is_zero(rows - 1)) --rows;
  return (groups - 1) * quant::kGroupTokens + rows;
}

// Messages of one phase in the order of steps. Widths follow the forward messages' versions;
// gradients are taken to have the widths of their micro-batch's activation (gradient.bits: same).
std::vector<Coded> Load(const std::string& folder, transport::Phase phase) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::map<uint64_t, std::vector<uint8_t>> widths;
  std::vector<Coded> messages;
  for (int pass = 0; pass < 2; ++pass) {
    for (const std::string& path : paths) {
      if (path.find("/step") == std::string::npos && pass == 1) continue;
      transport::Message message = transport::ReadCapture(path);
      const Bytes* sent = FindSection(message.sections, SectionKind::kWidths);
      if (sent != nullptr) widths[message.gate.version] = *sent;
      const Bytes* codes = FindSection(message.sections, SectionKind::kCodes);
      if (pass == 0 || message.key.phase != phase || codes == nullptr || codes->empty()) continue;
      Coded coded;
      coded.widths = widths.at(message.gate.version);
      coded.rows = RowsOf(*codes, coded.widths);
      coded.zero_codes =
          quant::ZeroCodes(*FindSection(message.sections, SectionKind::kRanges), coded.widths);
      coded.sections = std::move(message.sections);
      messages.push_back(std::move(coded));
    }
  }
  return messages;
}

using Histogram = std::vector<double>;

// Bits of `counted` in a code that is ideal for `model` (half a count more, so that none is zero).
double CrossEntropyBits(const Histogram& counted, const Histogram& model, double smoothing) {
  double sum = 0;
  for (const double count : model) sum += count + smoothing;
  double bits = 0;
  for (size_t s = 0; s < counted.size(); ++s) {
    if (counted[s] > 0) bits += counted[s] * std::log2(sum / (model[s] + smoothing));
  }
  return bits;
}

std::vector<Histogram> Count(const Coded& message, const quant::EntropyTables& tables,
                             bool by_channel) {
  const quant::EntropyModel& model = tables.model();
  const auto symbols =
      quant::SymbolsOf(message.codes(), message.shape(), model.is_relative_to_zero);
  const auto row_classes = quant::BestRowClasses(tables, symbols, nullptr);
  const size_t channels = message.widths.size();
  std::vector<Histogram> counts;
  for (size_t c = 0; by_channel && c < channels; ++c) {
    counts.emplace_back(size_t{1} << message.widths[c]);
  }
  for (size_t t = 0; !by_channel && t < model.classes.size() * model.row_classes; ++t) {
    counts.emplace_back(size_t{1} << model.classes[t / model.row_classes].width);
  }
  for (size_t i = 0; i < symbols.size(); ++i) {
    const size_t c = i % channels;
    const size_t table =
        by_channel ? c : model.class_of_channel[c] * model.row_classes + row_classes[i / channels];
    ++counts[table][symbols[i]];
  }
  return counts;
}

// Of this thread's processor time: the machine may be shared.
template <typename Work>
double Seconds(const Work& work) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

std::string Spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
  };
  char text[64];
  std::snprintf(text, sizeof(text), "%.3f (%.3f-%.3f)", at(0.5), at(0.1), at(0.9));
  return text;
}

// Against memcpy of the same values as fp32, in turn, 15 rounds.
void ReportSpeed(const Coded& message, const quant::EntropyTables& tables, const Bytes& coded) {
  const std::vector<float> from(static_cast<size_t>(message.num_values()), 1.0f);
  std::vector<float> to(from.size());
  std::vector<double> encode, decode, rate;
  size_t sink = 0;
  for (int round = 0; round < 15; ++round) {
    const double copy = Seconds([&] {
      std::memcpy(to.data(), from.data(), from.size() * sizeof(float));
      sink += static_cast<size_t>(to[sink % to.size()]);
    });
    const double encoding = Seconds([&] {
      sink += quant::EncodeCodes(message.codes(), message.shape(), tables, SIZE_MAX / 2)->size();
    });
    const double decoding =
        Seconds([&] { sink += quant::DecodeCodes(coded, message.shape(), tables).size(); });
    encode.push_back(copy / encoding);
    decode.push_back(copy / decoding);
    rate.push_back(message.num_values() / decoding / 1e6);
  }
  std::sort(rate.begin(), rate.end());
  std::printf(" %s | %s | %.0f |\n", Spread(encode).c_str(), Spread(decode).c_str(),
              rate[rate.size() / 2]);
  if (sink == 0) std::printf("\n");
}

quant::EntropyTables TablesOf(const Coded& message, uint32_t row_classes) {
  const auto build = [&](bool is_relative) {
    quant::EntropyModel model =
        quant::BuildEntropyModel(quant::SymbolsOf(message.codes(), message.shape(), is_relative),
                                 message.widths, row_classes);
    model.is_relative_to_zero = is_relative;
    return quant::EntropyTables(std::move(model));
  };
  const auto bits = [&](const quant::EntropyTables& tables) {
    double sum = 0;
    quant::BestRowClasses(
        tables,
        quant::SymbolsOf(message.codes(), message.shape(), tables.model().is_relative_to_zero),
        &sum);
    return sum;
  };
  quant::EntropyTables plain = build(false);
  quant::EntropyTables relative = build(true);
  return bits(relative) < bits(plain) ? std::move(relative) : std::move(plain);
}

void Report(const std::string& folder, transport::Phase phase) {
  const std::vector<Coded> messages = Load(folder, phase);
  if (messages.size() < 2) return;
  // The sender as it is: all messages, tables and all.
  double values = 0, packed = 0;
  quant::EntropySender sender;
  for (const Coded& message : messages) {
    std::vector<Section> sections = message.sections;
    sender.Compress({.widths = message.widths, .rows = message.rows}, &sections);
    values += message.num_values();
  }
  packed = 8 * static_cast<double>(sender.bytes_in()) / values;
  const double live = 8 * static_cast<double>(sender.bytes_out()) / values;
  // Tables of the last message but one, on the last one.
  const Coded& first = messages[messages.size() - 2];
  const Coded& last = messages.back();
  if (first.widths != last.widths) return;
  for (const uint32_t row_classes : {1u, 8u}) {
    const quant::EntropyTables tables = TablesOf(first, row_classes);
    const Bytes coded = *quant::EncodeCodes(last.codes(), last.shape(), tables, SIZE_MAX / 2);
    const auto learned = Count(first, tables, false);
    const auto counted = Count(last, tables, false);
    double model_bits = 0, class_bits = 0, channel_bits = 0;
    for (size_t t = 0; t < counted.size(); ++t) {
      model_bits += CrossEntropyBits(counted[t], learned[t], 0.5);
      class_bits += CrossEntropyBits(counted[t], counted[t], 0);
    }
    for (const Histogram& channel : Count(last, tables, true)) {
      channel_bits += CrossEntropyBits(channel, channel, 0);
    }
    const double n = last.num_values();
    const double bits = 8 * static_cast<double>(coded.size());
    const std::string name = std::filesystem::path(folder).filename().string();
    std::printf("| %s %s | %zu x %u%s | %.3f | %.3f | %.3f | %zu | %.3f | %.4f | %.4f | %.3f |",
                name.c_str(), phase == transport::Phase::kForward ? "forward" : "backward",
                tables.model().classes.size(), tables.model().row_classes,
                tables.model().is_relative_to_zero ? " zero" : "", packed, live, packed - live,
                tables.Serialize().size(), bits / n, bits / model_bits, bits / class_bits,
                channel_bits / n);
    ReportSpeed(last, tables, coded);
  }
}

int Main(int argc, char** argv) {
  std::printf(
      "| run | classes | packed | sender | saved | table bytes | coded | / model | / class entropy "
      "| "
      "channel entropy | encode / memcpy | decode / memcpy | decoded M symbols/s |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (int i = 1; i < argc; ++i) {
    for (const auto phase : {transport::Phase::kForward, transport::Phase::kBackward}) {
      Report(argv[i], phase);
    }
  }
  return 0;
}

}  // namespace
}  // namespace amaq

int main(int argc, char** argv) {
  try {
    return amaq::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
