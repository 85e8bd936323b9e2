#include "transport/step_header.h"

#include "core/error.h"
#include "transport/limits.h"
#include "transport/protowire.h"

namespace amaq::transport {
namespace {

// The field numbers of frame.proto.
enum HeaderField : uint32_t {
  kMicroBatches = 1,
  kTensor = 2,
  kGate = 3,
  kSections = 4,
  kLossTokens = 5,
  kFirstItem = 16,  // the oneof, in the order of Item's alternatives
  kLastItem = kFirstItem + std::variant_size_v<Item> - 2,
};

constexpr size_t kMaxText = 1024;  // of a reason or a tensor's name

template <typename Enum>
Enum CheckedEnum(uint64_t value, Enum first, Enum last, std::string_view what) {
  if (value < static_cast<uint64_t>(first) || value > static_cast<uint64_t>(last)) {
    Throw(Code::kInvalidArgument, "header holds the unknown ", what, " ", value);
  }
  return static_cast<Enum>(value);
}

Bytes Encode(const TensorSpec& spec) {
  Bytes out;
  ProtoWriter writer(&out);
  writer.Varint(1, spec.tokens);
  writer.Varint(2, spec.channels);
  writer.Varint(3, static_cast<uint32_t>(spec.dtype));
  writer.Varint(4, spec.cut);
  writer.Varint(5, static_cast<uint32_t>(spec.direction));
  return out;
}

TensorSpec DecodeTensorSpec(ProtoReader in) {
  TensorSpec spec;
  uint64_t dtype = 0;
  uint64_t direction = 0;
  while (in.Next()) {
    if (in.field() == 1) spec.tokens = in.U64();
    if (in.field() == 2) spec.channels = in.U32();
    if (in.field() == 3) dtype = in.U64();
    if (in.field() == 4) spec.cut = in.U32();
    if (in.field() == 5) direction = in.U64();
  }
  spec.dtype = CheckedEnum(dtype, DType::kF32, DType::kF64, "dtype");
  spec.direction = CheckedEnum(direction, Direction::kForward, Direction::kBackward, "direction");
  return spec;
}

Bytes Encode(const GateState& gate) {
  Bytes out;
  ProtoWriter writer(&out);
  writer.Varint(1, gate.version);
  writer.Varint(2, static_cast<uint32_t>(gate.phase));
  writer.Double(3, gate.target_bits);
  writer.Varint(4, gate.decoded_version);
  return out;
}

GateState DecodeGate(ProtoReader in) {
  GateState gate;
  while (in.Next()) {
    if (in.field() == 1) gate.version = in.U64();
    if (in.field() == 2) {
      gate.phase = CheckedEnum(in.U64(), GatePhase::kNone, GatePhase::kFrozen, "gate phase");
    }
    if (in.field() == 3) gate.target_bits = in.Double();
    if (in.field() == 4) gate.decoded_version = in.U64();
  }
  return gate;
}

SectionShape DecodeSection(ProtoReader in) {
  SectionShape shape{SectionKind::kWidths, 0};
  uint64_t kind = 0;
  while (in.Next()) {
    if (in.field() == 1) kind = in.U64();
    if (in.field() == 2) shape.length = in.U64();
  }
  shape.kind = CheckedEnum(kind, SectionKind::kWidths, SectionKind::kRdBasis, "section kind");
  return shape;
}

// One pair of functions an item: its fields, in the order of frame.proto.
void Write(ProtoWriter&, const std::monostate&) {}
void Write(ProtoWriter& out, const BackwardInfo& info) {
  out.Double(1, info.loss_sum);
  out.Varint(2, info.tokens);
}
void Write(ProtoWriter& out, const NormInfo& info) { out.Varint(1, info.finite ? 1 : 0); }
void Write(ProtoWriter& out, const CommitInfo& info) {
  out.Varint(1, info.skip ? 1 : 0);
  out.Double(2, info.clip_scale);
  out.Double(3, info.learning_rate);
  out.Varint(4, info.gate_version);
}
void Write(ProtoWriter& out, const CommittedInfo& info) { out.Varint(1, info.committed_steps); }
void Write(ProtoWriter& out, const AbortInfo& info) { out.String(1, info.reason); }
void Write(ProtoWriter& out, const EvalInfo& info) {
  out.Double(1, info.loss_sum);
  out.Varint(2, info.tokens);
  out.Varint(3, info.correct);
}
void Write(ProtoWriter& out, const DecodeInfo& info) { out.Varint(1, info.token_id); }
void Write(ProtoWriter& out, const NonFinite& info) {
  out.String(1, info.tensor);
  out.Varint(2, info.token);
  out.Varint(3, info.channel);
}

void Read(const ProtoReader& in, BackwardInfo* info) {
  if (in.field() == 1) info->loss_sum = in.Double();
  if (in.field() == 2) info->tokens = in.U64();
}
void Read(const ProtoReader& in, NormInfo* info) {
  if (in.field() == 1) info->finite = in.Bool();
}
void Read(const ProtoReader& in, CommitInfo* info) {
  if (in.field() == 1) info->skip = in.Bool();
  if (in.field() == 2) info->clip_scale = in.Double();
  if (in.field() == 3) info->learning_rate = in.Double();
  if (in.field() == 4) info->gate_version = in.U64();
}
void Read(const ProtoReader& in, CommittedInfo* info) {
  if (in.field() == 1) info->committed_steps = in.U64();
}
void Read(const ProtoReader& in, AbortInfo* info) {
  if (in.field() == 1) info->reason = in.String(kMaxText);
}
void Read(const ProtoReader& in, EvalInfo* info) {
  if (in.field() == 1) info->loss_sum = in.Double();
  if (in.field() == 2) info->tokens = in.U64();
  if (in.field() == 3) info->correct = in.U64();
}
void Read(const ProtoReader& in, DecodeInfo* info) {
  if (in.field() == 1) info->token_id = in.U32();
}
void Read(const ProtoReader& in, NonFinite* info) {
  if (in.field() == 1) info->tensor = in.String(kMaxText);
  if (in.field() == 2) info->token = in.U64();
  if (in.field() == 3) info->channel = in.U32();
}

// What generated code gives for an absent field, where our default is another.
template <typename Info>
Info ZeroValue() {
  Info info{};
  if constexpr (std::is_same_v<Info, NormInfo>) info.finite = false;
  if constexpr (std::is_same_v<Info, CommitInfo>) info.clip_scale = 0;
  return info;
}

template <size_t index = 1>
void DecodeItem(ProtoReader in, size_t wanted, Item* item) {
  if constexpr (index < std::variant_size_v<Item>) {
    if (index != wanted) return DecodeItem<index + 1>(in, wanted, item);
    auto info = ZeroValue<std::variant_alternative_t<index, Item>>();
    while (in.Next()) Read(in, &info);
    *item = std::move(info);
  }
}

}  // namespace

Bytes EncodeStepHeader(const Message& message) {
  if (message.sections.size() > kMaxSections) {
    Throw(Code::kInvalidArgument, ToString(message.key), " has ", message.sections.size(),
          " sections, at most ", kMaxSections, " are allowed");
  }
  Bytes out;
  ProtoWriter writer(&out);
  writer.Varint(kMicroBatches, message.micro_batches);
  if (message.tensor) writer.Submessage(kTensor, Encode(*message.tensor));
  if (message.gate != GateState{}) writer.Submessage(kGate, Encode(message.gate));
  for (const Section& section : message.sections) {
    Bytes shape;
    ProtoWriter shape_writer(&shape);
    shape_writer.Varint(1, static_cast<uint32_t>(section.kind));
    shape_writer.Varint(2, section.bytes.size());
    writer.Submessage(kSections, shape);
  }
  writer.Varint(kLossTokens, message.loss_tokens);
  if (message.item.index() != 0) {
    Bytes item;
    ProtoWriter item_writer(&item);
    std::visit([&](const auto& info) { Write(item_writer, info); }, message.item);
    writer.Submessage(kFirstItem + static_cast<uint32_t>(message.item.index()) - 1, item);
  }
  if (out.size() >= kMaxHeaderBytes) {
    Throw(Code::kInvalidArgument, "the header of ", ToString(message.key), " has ", out.size(),
          " bytes, it must have fewer than ", kMaxHeaderBytes);
  }
  return out;
}

std::vector<SectionShape> DecodeStepHeader(ByteSpan header, Message* message) {
  std::vector<SectionShape> shapes;
  const ByteSpan input[] = {header};
  ProtoReader in(input, "header");
  while (in.Next()) {
    const uint32_t field = in.field();
    if (field == kMicroBatches) message->micro_batches = in.U32();
    if (field == kTensor) message->tensor = DecodeTensorSpec({in.pieces(), "tensor spec"});
    if (field == kGate) message->gate = DecodeGate({in.pieces(), "gate state"});
    if (field == kLossTokens) message->loss_tokens = in.U64();
    if (field == kSections) {
      shapes.push_back(DecodeSection({in.pieces(), "section"}));
      if (shapes.size() > kMaxSections) {
        Throw(Code::kInvalidArgument, "header holds more than ", kMaxSections, " sections");
      }
    }
    if (field >= kFirstItem && field <= kLastItem)
      DecodeItem({in.pieces(), "item"}, field - kFirstItem + 1, &message->item);
  }
  return shapes;
}

}  // namespace amaq::transport
