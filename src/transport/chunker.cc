#include "transport/chunker.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "transport/limits.h"

namespace amaq::transport {

Chunker::Chunker(const Message& message, uint64_t sequence, uint32_t chunk_bytes)
    : message_(message), chunk_bytes_(chunk_bytes) {
  AMAQ_CHECK(chunk_bytes > 0);
  for (const Section& section : message.sections) next_.total_bytes += section.bytes.size();
  const uint64_t count = std::max<uint64_t>(1, (next_.total_bytes + chunk_bytes - 1) / chunk_bytes);
  if (count > std::numeric_limits<uint32_t>::max()) {
    Throw(Code::kInvalidArgument, ToString(message.key), " has ", next_.total_bytes,
          " bytes, too many for chunks of ", chunk_bytes);
  }
  next_.key = message.key;
  next_.sequence = sequence;
  next_.count = static_cast<uint32_t>(count);
  next_.header = EncodeStepHeader(message);
}

Frame Chunker::Cut() {
  AMAQ_CHECK(!done());
  Frame frame = next_;
  size_t room = chunk_bytes_;
  while (room > 0 && section_ < message_.sections.size()) {
    const ByteSpan rest = ByteSpan(message_.sections[section_].bytes).subspan(offset_);
    const size_t count = std::min(room, rest.size());
    if (count > 0) frame.payload.push_back(rest.first(count));
    room -= count;
    offset_ += count;
    if (count == rest.size()) {
      ++section_;
      offset_ = 0;
    }
  }
  ++next_.index;
  next_.header.clear();
  return frame;
}

Frame Chunker::Next(uint64_t ack) {
  Frame frame = Cut();
  frame.ack = ack;
  digest_.Update(frame.header);
  for (const ByteSpan piece : frame.payload) digest_.Update(piece);
  if (done()) frame.digest = digest_.value();
  frame.crc32c = FrameCrc(frame);
  return frame;
}

uint64_t MessageDigest(const Message& message) {
  DigestStream digest;
  digest.Update(EncodeStepHeader(message));
  for (const Section& section : message.sections) digest.Update(section.bytes);
  return digest.value();
}

uint64_t WireBytes(const Message& message, uint32_t chunk_bytes) {
  Chunker chunker(message, 1, chunk_bytes);
  uint64_t total = 0;
  while (!chunker.done()) {
    Frame frame = chunker.Cut();
    frame.crc32c = 1;  // zero fields are left out: CRC and digest are taken as not zero
    frame.digest = chunker.done() ? 1 : 0;
    const FrameEnvelope envelope = EncodeFrame(frame);
    total += envelope.prefix.size() + PayloadBytes(frame) + envelope.suffix.size();
    total += kGrpcPrefixBytes;
  }
  return total;
}

void Assembler::Begin(const Frame& frame) {
  const std::string name = ToString(frame.key);
  if (frame.sequence != verified_ + 1) {
    Throw(Code::kDataLoss, name, " has sequence number ", frame.sequence, ", expected ",
          verified_ + 1);
  }
  if (frame.index != 0) {
    Throw(Code::kDataLoss, name, " begins with chunk ", frame.index, ", expected chunk 0");
  }
  if (frame.total_bytes > max_message_bytes_) {
    Throw(Code::kInvalidArgument, name, " announces ", frame.total_bytes, " bytes, the limit is ",
          max_message_bytes_);
  }
  if (frame.count == 0 || frame.count > std::max<uint64_t>(1, frame.total_bytes)) {
    Throw(Code::kInvalidArgument, name, " announces ", frame.count, " chunks for ",
          frame.total_bytes, " bytes");
  }
  message_ = Message{};
  message_.key = frame.key;
  shapes_ = DecodeStepHeader(frame.header, &message_);
  uint64_t room = frame.total_bytes;
  for (const SectionShape& shape : shapes_) {
    if (shape.length > room) {
      Throw(Code::kInvalidArgument, name, " announces sections of more than its ",
            frame.total_bytes, " payload bytes");
    }
    room -= shape.length;
  }
  if (room != 0) {
    Throw(Code::kInvalidArgument, name, " announces ", frame.total_bytes,
          " payload bytes, its sections are ", room, " bytes shorter");
  }
  for (const SectionShape& shape : shapes_) {
    message_.sections.push_back({shape.kind, {}});
    message_.sections.back().bytes.reserve(shape.length);
  }
  first_ = frame;
  first_.header.clear();
  first_.payload.clear();
  next_index_ = 0;
  left_ = frame.total_bytes;
  section_ = 0;
  digest_ = std::make_unique<DigestStream>();
  digest_->Update(frame.header);
  started_ = true;
}

void Assembler::CheckContinues(const Frame& frame) const {
  const std::string name = ToString(first_.key);
  if (frame.key != first_.key || frame.sequence != first_.sequence) {
    Throw(Code::kDataLoss, name, " is interrupted by ", ToString(frame.key), " after chunk ",
          next_index_, " of ", first_.count);
  }
  if (frame.index != next_index_) {
    Throw(Code::kDataLoss, name, " continues with chunk ", frame.index, ", expected chunk ",
          next_index_);
  }
  if (frame.count != first_.count || frame.total_bytes != first_.total_bytes) {
    Throw(Code::kInvalidArgument, name, " changes its size between chunks: ", first_.count,
          " chunks of ", first_.total_bytes, " bytes in all, then ", frame.count, " of ",
          frame.total_bytes);
  }
  if (next_index_ > 0 && !frame.header.empty()) {
    Throw(Code::kInvalidArgument, name, " has a header in chunk ", next_index_);
  }
}

void Assembler::Append(ByteSpan piece) {
  while (!piece.empty()) {
    Bytes& bytes = message_.sections[section_].bytes;
    const uint64_t room = shapes_[section_].length - bytes.size();
    const size_t count = std::min<size_t>(room, piece.size());
    bytes.insert(bytes.end(), piece.begin(), piece.begin() + static_cast<ptrdiff_t>(count));
    copied_bytes_ += count;
    piece = piece.subspan(count);
    if (count == room) ++section_;
  }
}

Message Assembler::End(const Frame& frame) {
  const std::string name = ToString(first_.key);
  if (left_ != 0) {
    Throw(Code::kInvalidArgument, name, " ends ", left_, " bytes before its announced ",
          first_.total_bytes);
  }
  if (digest_->value() != frame.digest) {
    Throw(Code::kDataLoss, name, " is damaged: its digest does not match");
  }
  verified_ = first_.sequence;
  started_ = false;
  return std::move(message_);
}

std::optional<Message> Assembler::Add(const Frame& frame) {
  if (!started_) Begin(frame);
  CheckContinues(frame);
  const uint64_t bytes = PayloadBytes(frame);
  const bool last = next_index_ + 1 == first_.count;
  if (bytes > left_ || (bytes == 0 && !last)) {
    Throw(Code::kInvalidArgument, ToString(first_.key), " has ", bytes, " bytes in chunk ",
          next_index_, ", ", left_, " of ", first_.total_bytes, " are left");
  }
  for (const ByteSpan piece : frame.payload) {
    digest_->Update(piece);
    Append(piece);
  }
  left_ -= bytes;
  ++next_index_;
  if (!last) return std::nullopt;
  return End(frame);
}

}  // namespace amaq::transport
