#include "transport/frame.h"

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/digest.h"
#include "core/error.h"
#include "transport/limits.h"
#include "transport/protowire.h"

namespace amaq::transport {
namespace {

// The field numbers of frame.proto.
enum FrameField : uint32_t {
  kEpoch = 1,
  kStep = 2,
  kAttempt = 3,
  kMicroBatch = 4,
  kPhase = 5,
  kRequestId = 6,
  kAck = 7,
  kSequence = 8,
  kIndex = 9,
  kCount = 10,
  kTotalBytes = 11,
  kHeader = 12,
  kPayload = 13,
  kCrc = 14,
  kDigest = 15,
};

void ReadField(const ProtoReader& in, Frame* frame) {
  switch (in.field()) {
    case kEpoch:
      frame->key.epoch = in.U32();
      break;
    case kStep:
      frame->key.step = in.U64();
      break;
    case kAttempt:
      frame->key.attempt = in.U32();
      break;
    case kMicroBatch:
      frame->key.micro_batch = in.U32();
      break;
    case kPhase:
      frame->key.phase = static_cast<Phase>(in.U32());
      break;
    case kRequestId:
      frame->key.request_id = in.U64();
      break;
    case kAck:
      frame->ack = in.Fixed64();
      break;
    case kSequence:
      frame->sequence = in.Fixed64();
      break;
    case kIndex:
      frame->index = in.U32();
      break;
    case kCount:
      frame->count = in.U32();
      break;
    case kTotalBytes:
      frame->total_bytes = in.U64();
      break;
    case kHeader:
      frame->header = in.Joined(kMaxHeaderBytes - 1);
      break;
    case kPayload:
      frame->payload = in.pieces();
      break;
    case kCrc:
      frame->crc32c = in.Fixed32();
      break;
    case kDigest:
      frame->digest = in.Fixed64();
      break;
    default:
      break;  // unknown: skipped
  }
}

}  // namespace

uint64_t PayloadBytes(const Frame& frame) {
  uint64_t total = 0;
  for (const ByteSpan piece : frame.payload) total += piece.size();
  return total;
}

uint32_t FrameCrc(const Frame& frame) {
  Bytes scalars;
  scalars.reserve(64);
  AppendLittleEndian(&scalars, frame.key.epoch);
  AppendLittleEndian(&scalars, frame.key.step);
  AppendLittleEndian(&scalars, frame.key.attempt);
  AppendLittleEndian(&scalars, frame.key.micro_batch);
  AppendLittleEndian(&scalars, static_cast<uint32_t>(frame.key.phase));
  AppendLittleEndian(&scalars, frame.key.request_id);
  AppendLittleEndian(&scalars, frame.ack);
  AppendLittleEndian(&scalars, frame.sequence);
  AppendLittleEndian(&scalars, frame.index);
  AppendLittleEndian(&scalars, frame.count);
  AppendLittleEndian(&scalars, frame.total_bytes);
  uint32_t crc = Crc32c(Crc32c(0, scalars), frame.header);
  for (const ByteSpan piece : frame.payload) crc = Crc32c(crc, piece);
  return crc;
}

FrameEnvelope EncodeFrame(const Frame& frame) {
  FrameEnvelope envelope;
  envelope.prefix.reserve(128 + frame.header.size());
  ProtoWriter prefix(&envelope.prefix);
  prefix.Varint(kEpoch, frame.key.epoch);
  prefix.Varint(kStep, frame.key.step);
  prefix.Varint(kAttempt, frame.key.attempt);
  prefix.Varint(kMicroBatch, frame.key.micro_batch);
  prefix.Varint(kPhase, static_cast<uint32_t>(frame.key.phase));
  prefix.Varint(kRequestId, frame.key.request_id);
  prefix.Fixed64Always(kAck, frame.ack);
  prefix.Fixed64(kSequence, frame.sequence);
  prefix.Varint(kIndex, frame.index);
  prefix.Varint(kCount, frame.count);
  prefix.Varint(kTotalBytes, frame.total_bytes);
  if (!frame.header.empty()) prefix.Submessage(kHeader, frame.header);
  const uint64_t payload_bytes = PayloadBytes(frame);
  if (payload_bytes > 0) prefix.LengthPrefix(kPayload, payload_bytes);
  ProtoWriter suffix(&envelope.suffix);
  suffix.Fixed32(kCrc, frame.crc32c);
  suffix.Fixed64(kDigest, frame.digest);
  return envelope;
}

Bytes FlattenFrame(const Frame& frame) {
  FrameEnvelope envelope = EncodeFrame(frame);
  Bytes flat = std::move(envelope.prefix);
  for (const ByteSpan piece : frame.payload) flat.insert(flat.end(), piece.begin(), piece.end());
  flat.insert(flat.end(), envelope.suffix.begin(), envelope.suffix.end());
  return flat;
}

Frame DecodeFrame(std::span<const ByteSpan> pieces) {
  Frame frame;
  frame.key.phase = Phase{0};  // absent is unknown, not our default
  ProtoReader in(pieces, "frame");
  while (in.Next()) ReadField(in, &frame);
  if (frame.key.phase < Phase::kForward || frame.key.phase > Phase::kBasis) {
    Throw(Code::kInvalidArgument, "frame holds the unknown phase ",
          static_cast<uint32_t>(frame.key.phase));
  }
  if (FrameCrc(frame) != frame.crc32c) {
    Throw(Code::kDataLoss, "chunk ", frame.index, " of ", ToString(frame.key),
          " is damaged: its CRC does not match");
  }
  return frame;
}

}  // namespace amaq::transport
