#include "quant/rd_basis.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/dtype.h"
#include "core/error.h"
#include "quant/rd.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

constexpr uint8_t kBasisVersion = 2;
constexpr size_t kPacked = 128;  // coefficients in a row of the coded matrix

size_t NumCoefficients(size_t channels, size_t reflectors) {
  return reflectors * (channels - 1) - reflectors * (reflectors - 1) / 2;
}

}  // namespace

double RdBasisWeight(int8_t weight) {
  return double{RdStep{1, static_cast<int16_t>(4 * weight)}.value()};
}

void CheckRdBasis(const RdMeans& means, const RdReflectors& reflectors) {
  const size_t channels = means.rows.size();
  if (means.sinks.size() != channels) {
    Throw(Code::kDataLoss, "a basis has means of ", channels, " and of ", means.sinks.size(),
          " channels");
  }
  for (const std::vector<float>* mean : {&means.rows, &means.sinks}) {
    if (!std::all_of(mean->begin(), mean->end(), IsFinite)) {
      Throw(Code::kDataLoss, "a mean of a basis is not finite");
    }
  }
  const size_t count = reflectors.weights.size();
  if (count >= channels || reflectors.coefficients.size() != NumCoefficients(channels, count)) {
    Throw(Code::kDataLoss, "a basis of ", channels, " channels has ", count, " reflectors with ",
          reflectors.coefficients.size(), " coefficients");
  }
  size_t next = 0;
  for (size_t k = 0; k < count; ++k) {
    const int8_t weight = reflectors.weights[k];
    if (weight < -kLargestBasisWeight || weight > kLargestBasisWeight) {
      Throw(Code::kDataLoss, "weight ", int{weight}, " of reflector ", k,
            " of the basis is not in [-", kLargestBasisWeight, ", ", kLargestBasisWeight, "]");
    }
    // A unit vector's are within 1, and rounding adds at most a step.
    const double limit = 1 + RdBasisWeight(weight);
    for (const size_t end = next + channels - 1 - k; next < end; ++next) {
      if (std::fabs(reflectors.coefficients[next]) <= limit) continue;
      Throw(Code::kDataLoss, "coefficient ", reflectors.coefficients[next], " of reflector ", k,
            " of the basis is above ", limit);
    }
  }
}

std::vector<Section> WriteRdBasis(const RdBasis& basis) {
  const RdReflectors& reflectors = basis.reflectors;
  Bytes head;
  AppendLittleEndian(&head, kBasisVersion);
  AppendLittleEndian(&head, static_cast<uint8_t>(basis.transform));
  AppendLittleEndian(&head, static_cast<uint32_t>(basis.means.rows.size()));
  AppendLittleEndian(&head, static_cast<uint32_t>(reflectors.weights.size()));
  for (const std::vector<float>* mean : {&basis.means.rows, &basis.means.sinks}) {
    for (const float value : *mean) AppendLittleEndian(&head, F32ToBF16(value));
  }
  for (const int8_t weight : reflectors.weights) AppendLittleEndian(&head, weight);
  std::vector<Section> sections = {{SectionKind::kRdBasis, std::move(head)}};
  if (reflectors.coefficients.empty()) return sections;
  std::vector<float> packed = reflectors.coefficients;
  packed.resize((packed.size() + kPacked - 1) / kPacked * kPacked, 0);
  RdOptions options;
  options.dead_zone = 0;  // they are integers already
  std::optional<RdEncoded> coded = RdEncode(packed, options, RdModel(kPacked), {});
  AMAQ_CHECK(coded.has_value());
  for (Section& section : coded->sections) sections.push_back(std::move(section));
  return sections;
}

RdBasisHead ReadRdBasisHead(const std::vector<Section>& sections) {
  const Bytes* bytes = FindSection(sections, SectionKind::kRdBasis);
  if (bytes == nullptr) Throw(Code::kDataLoss, "a basis without its section");
  ByteReader reader(*bytes, "the basis section");
  const auto version = reader.Read<uint8_t>();
  if (version != kBasisVersion) {
    Throw(Code::kDataLoss, "the basis has version ", int{version}, ", known is ",
          int{kBasisVersion});
  }
  const auto transform = static_cast<Transform>(reader.Read<uint8_t>());
  if (transform != Transform::kNone && transform != Transform::kEigen &&
      transform != Transform::kHadamard) {
    Throw(Code::kDataLoss, "the basis is of the unknown transform ",
          static_cast<uint32_t>(transform));
  }
  const auto channels = reader.Read<uint32_t>();
  const auto count = reader.Read<uint32_t>();
  if (count >= channels || (count > 0 && transform != Transform::kEigen)) {
    Throw(Code::kDataLoss, "a basis of ", channels, " channels has ", count, " reflectors");
  }
  const uint64_t wanted = 2 * sizeof(uint16_t) * uint64_t{channels} + count;
  if (reader.remaining() != wanted) {
    Throw(Code::kDataLoss, "the basis section has ", reader.remaining(),
          " bytes of means and weights, ", wanted, " belong to ", channels, " channels and ", count,
          " reflectors");
  }
  RdBasisHead head{transform, {}, std::vector<int8_t>(count)};
  for (std::vector<float>* mean : {&head.means.rows, &head.means.sinks}) {
    mean->resize(channels);
    for (float& value : *mean) value = BF16ToF32(reader.Read<uint16_t>());
  }
  for (int8_t& weight : head.weights) weight = reader.Read<int8_t>();
  return head;
}

RdBasis ReadRdBasis(const std::vector<Section>& sections, size_t channels) {
  RdBasisHead head = ReadRdBasisHead(sections);
  const size_t size = head.means.rows.size();
  if (size != channels) {
    Throw(Code::kDataLoss, "the basis is of ", size, " channels, the tensor of ", channels);
  }
  RdBasis basis{head.transform, std::move(head.means), {std::move(head.weights), {}}};
  const size_t count = basis.reflectors.weights.size();
  if (count > 0) {
    const size_t wanted = NumCoefficients(size, count);
    std::vector<float>& packed = basis.reflectors.coefficients;
    packed.resize((wanted + kPacked - 1) / kPacked * kPacked);
    RdDecode(sections, RdModel(kPacked), packed, {.takes_kinds = false});
    if (std::any_of(packed.begin() + static_cast<ptrdiff_t>(wanted), packed.end(),
                    [](float v) { return v != 0; })) {
      Throw(Code::kDataLoss, "the basis has coefficients of no reflector");
    }
    packed.resize(wanted);
  }
  CheckRdBasis(basis.means, basis.reflectors);
  return basis;
}

}  // namespace amaq::quant
