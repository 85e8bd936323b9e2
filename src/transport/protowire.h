#ifndef AMAQ_TRANSPORT_PROTOWIRE_H_
#define AMAQ_TRANSPORT_PROTOWIRE_H_

// The protobuf wire form, written and read field by field: enough for frame.proto, so that payload
// bytes are never copied and the light build needs no protobuf. Fields written in ascending order
// with zeros left out give the bytes of generated code (tests compare). The reader takes its input
// in pieces (a received message is a list of slices), never reads past it and never allocates for
// a length that is not there. Thread-compatible.
// Source: protobuf.dev, "Encoding"; groups are refused, unknown fields skipped.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/section.h"

namespace amaq::transport {

enum class WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

class ProtoWriter {
 public:
  explicit ProtoWriter(Bytes* out) : out_(*out) {}  // appends

  void Varint(uint32_t field, uint64_t value);  // this and the next three leave a zero out
  void Fixed32(uint32_t field, uint32_t value);
  void Fixed64(uint32_t field, uint64_t value);
  void Double(uint32_t field, double value);  // -0.0 is not left out
  void Fixed64Always(uint32_t field, uint64_t value);
  void String(uint32_t field, std::string_view value);  // left out when empty
  void Submessage(uint32_t field, ByteSpan value);      // written even when empty
  void LengthPrefix(uint32_t field, uint64_t length);   // the bytes follow elsewhere

 private:
  void Tag(uint32_t field, WireType type);
  void RawVarint(uint64_t value);

  Bytes& out_;
};

class ProtoReader {
 public:
  // `what` names the input in errors ("frame"). Both must outlive the reader.
  ProtoReader(std::span<const ByteSpan> pieces, std::string_view what);

  // Advances to the next field, false at the end. kDataLoss when the input ends inside a field,
  // kInvalidArgument for a malformed tag or varint.
  bool Next();
  uint32_t field() const { return field_; }

  // The value of the current field; kInvalidArgument when it has another wire type or is too large.
  uint64_t U64() const;
  uint32_t U32() const;
  bool Bool() const { return U64() != 0; }
  uint32_t Fixed32() const;
  uint64_t Fixed64() const;
  double Double() const;
  // Valid as long as the input, in order, none of them empty.
  const std::vector<ByteSpan>& pieces() const;
  Bytes Joined(size_t limit) const;  // a copy; kInvalidArgument above `limit` bytes
  std::string String(size_t limit) const;

 private:
  uint8_t Byte();
  uint64_t RawVarint();
  uint64_t RawFixed(int bytes);
  void Take(uint64_t length);
  void Expect(WireType type) const;

  std::span<const ByteSpan> input_;
  std::string_view what_;
  size_t piece_ = 0;
  size_t offset_ = 0;  // in the piece
  uint64_t left_ = 0;  // bytes in all
  uint32_t field_ = 0;
  WireType type_ = WireType::kVarint;
  uint64_t value_ = 0;
  std::vector<ByteSpan> pieces_;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_PROTOWIRE_H_
