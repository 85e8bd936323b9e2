#ifndef AMAQ_TRANSPORT_FRAME_H_
#define AMAQ_TRANSPORT_FRAME_H_

// One chunk of a message and its wire form: the protobuf message amaq.v1.Frame, written and read by
// hand around the payload, which is never copied here. Equality with generated code is tested.
// Pure functions. Source: docs/formats/frame.md.

#include <cstdint>
#include <span>
#include <vector>

#include "core/section.h"
#include "transport/message.h"

namespace amaq::transport {

struct Frame {
  MessageKey key;
  uint64_t ack = 0;       // all messages up to this sequence number were verified
  uint64_t sequence = 0;  // of the message, from 1
  uint32_t index = 0;
  uint32_t count = 0;
  uint64_t total_bytes = 0;       // payload of the whole message
  Bytes header;                   // first chunk only
  std::vector<ByteSpan> payload;  // borrowed, in order
  uint32_t crc32c = 0;
  uint64_t digest = 0;  // last chunk only
};

uint64_t PayloadBytes(const Frame& frame);

// Over all fields but itself and the digest.
uint32_t FrameCrc(const Frame& frame);

// The wire form is prefix, payload, suffix.
struct FrameEnvelope {
  Bytes prefix;
  Bytes suffix;
};
FrameEnvelope EncodeFrame(const Frame& frame);
Bytes FlattenFrame(const Frame& frame);  // the same in one piece, copying the payload

// The payload points into `pieces`. kDataLoss when the input ends early or the CRC does not match,
// kInvalidArgument for a malformed field, an unknown phase or a header of kMaxHeaderBytes or more.
Frame DecodeFrame(std::span<const ByteSpan> pieces);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_FRAME_H_
