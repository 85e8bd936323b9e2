#include "transport/protowire.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "core/bytes.h"
#include "core/error.h"

namespace amaq::transport {

void ProtoWriter::RawVarint(uint64_t value) {
  while (value >= 0x80) {
    out_.push_back(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  out_.push_back(static_cast<uint8_t>(value));
}

void ProtoWriter::Tag(uint32_t field, WireType type) {
  RawVarint((uint64_t{field} << 3) | static_cast<uint32_t>(type));
}

void ProtoWriter::Varint(uint32_t field, uint64_t value) {
  if (value == 0) return;
  Tag(field, WireType::kVarint);
  RawVarint(value);
}

void ProtoWriter::Fixed32(uint32_t field, uint32_t value) {
  if (value == 0) return;
  Tag(field, WireType::kFixed32);
  AppendLittleEndian(&out_, value);
}

void ProtoWriter::Fixed64(uint32_t field, uint64_t value) {
  if (value != 0) Fixed64Always(field, value);
}

void ProtoWriter::Fixed64Always(uint32_t field, uint64_t value) {
  Tag(field, WireType::kFixed64);
  AppendLittleEndian(&out_, value);
}

void ProtoWriter::Double(uint32_t field, double value) {
  Fixed64(field, std::bit_cast<uint64_t>(value));
}

void ProtoWriter::String(uint32_t field, std::string_view value) {
  if (value.empty()) return;
  LengthPrefix(field, value.size());
  out_.insert(out_.end(), value.begin(), value.end());
}

void ProtoWriter::Submessage(uint32_t field, ByteSpan value) {
  LengthPrefix(field, value.size());
  out_.insert(out_.end(), value.begin(), value.end());
}

void ProtoWriter::LengthPrefix(uint32_t field, uint64_t length) {
  Tag(field, WireType::kBytes);
  RawVarint(length);
}

ProtoReader::ProtoReader(std::span<const ByteSpan> pieces, std::string_view what)
    : input_(pieces), what_(what) {
  for (const ByteSpan piece : pieces) left_ += piece.size();
}

uint8_t ProtoReader::Byte() {
  if (left_ == 0) Throw(Code::kDataLoss, what_, " ends inside field ", field_);
  while (offset_ == input_[piece_].size()) {
    ++piece_;
    offset_ = 0;
  }
  --left_;
  return input_[piece_][offset_++];
}

uint64_t ProtoReader::RawVarint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const uint64_t byte = Byte();
    if (shift == 63 && byte > 1) break;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  Throw(Code::kInvalidArgument, what_, " holds a varint of more than 64 bits after field ", field_);
}

uint64_t ProtoReader::RawFixed(int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= uint64_t{Byte()} << (8 * i);
  return value;
}

void ProtoReader::Take(uint64_t length) {
  if (length > left_) {
    Throw(Code::kDataLoss, what_, " ends inside field ", field_, ": ", length, " bytes announced, ",
          left_, " left");
  }
  pieces_.clear();
  left_ -= length;
  while (length > 0) {
    const ByteSpan rest = input_[piece_].subspan(offset_);
    const auto count = static_cast<size_t>(std::min<uint64_t>(length, rest.size()));
    if (count > 0) pieces_.push_back(rest.first(count));
    offset_ += count;
    length -= count;
    if (length > 0) {
      ++piece_;
      offset_ = 0;
    }
  }
}

bool ProtoReader::Next() {
  if (left_ == 0) return false;
  const uint64_t tag = RawVarint();
  if (tag > std::numeric_limits<uint32_t>::max() || tag >> 3 == 0) {
    Throw(Code::kInvalidArgument, what_, " holds the invalid tag ", tag, " after field ", field_);
  }
  field_ = static_cast<uint32_t>(tag >> 3);
  type_ = static_cast<WireType>(tag & 7);
  switch (type_) {
    case WireType::kVarint:
      value_ = RawVarint();
      return true;
    case WireType::kFixed64:
      value_ = RawFixed(8);
      return true;
    case WireType::kFixed32:
      value_ = RawFixed(4);
      return true;
    case WireType::kBytes:
      Take(RawVarint());
      return true;
  }
  Throw(Code::kInvalidArgument, what_, " holds field ", field_, " with the unknown wire type ",
        tag & 7);
}

void ProtoReader::Expect(WireType type) const {
  if (type_ != type) {
    Throw(Code::kInvalidArgument, what_, " holds field ", field_, " with wire type ",
          static_cast<uint32_t>(type_), ", wanted ", static_cast<uint32_t>(type));
  }
}

uint64_t ProtoReader::U64() const {
  Expect(WireType::kVarint);
  return value_;
}

uint32_t ProtoReader::U32() const {
  Expect(WireType::kVarint);
  if (value_ > std::numeric_limits<uint32_t>::max()) {
    Throw(Code::kInvalidArgument, what_, " holds ", value_, " in the 32-bit field ", field_);
  }
  return static_cast<uint32_t>(value_);
}

uint32_t ProtoReader::Fixed32() const {
  Expect(WireType::kFixed32);
  return static_cast<uint32_t>(value_);
}

uint64_t ProtoReader::Fixed64() const {
  Expect(WireType::kFixed64);
  return value_;
}

double ProtoReader::Double() const { return std::bit_cast<double>(Fixed64()); }

const std::vector<ByteSpan>& ProtoReader::pieces() const {
  Expect(WireType::kBytes);
  return pieces_;
}

Bytes ProtoReader::Joined(size_t limit) const {
  size_t total = 0;
  for (const ByteSpan piece : pieces()) total += piece.size();
  if (total > limit) {
    Throw(Code::kInvalidArgument, what_, " holds ", total, " bytes in field ", field_, ", at most ",
          limit, " are allowed");
  }
  Bytes joined;
  joined.reserve(total);
  for (const ByteSpan piece : pieces_) joined.insert(joined.end(), piece.begin(), piece.end());
  return joined;
}

std::string ProtoReader::String(size_t limit) const {
  const Bytes joined = Joined(limit);
  return {joined.begin(), joined.end()};
}

}  // namespace amaq::transport
