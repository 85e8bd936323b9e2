#ifndef AMAQ_TRANSPORT_CHUNKER_H_
#define AMAQ_TRANSPORT_CHUNKER_H_

// Messages <-> frames. The chunker cuts the concatenated sections into chunks without copying; the
// assembler puts them together again and trusts nothing. Chunks of one message follow each other
// without chunks of another between them. Thread-compatible, one direction of one stream each.
// Source: design "The wire", section 2 (our choice); docs/formats/frame.md.

#include <cstdint>
#include <memory>
#include <optional>

#include "core/digest.h"
#include "transport/frame.h"
#include "transport/message.h"
#include "transport/step_header.h"

namespace amaq::transport {

class Chunker {
 public:
  // `message` must outlive the chunker and its frames. kInvalidArgument when the header is too
  // large (step_header.h).
  Chunker(const Message& message, uint64_t sequence, uint32_t chunk_bytes);

  bool done() const { return next_.index == next_.count; }
  // The next chunk, with CRC and, in the last one, the digest. Not after done().
  Frame Next(uint64_t ack);

 private:
  friend uint64_t WireBytes(const Message& message, uint32_t chunk_bytes);
  Frame Cut();  // without CRC and digest

  const Message& message_;
  const uint32_t chunk_bytes_;
  Frame next_;  // of the chunk to come: key, sequence, index, count, total, header
  size_t section_ = 0;
  size_t offset_ = 0;  // in the section
  DigestStream digest_;
};

// XXH3-64 of header and whole payload: what a message is known by.
uint64_t MessageDigest(const Message& message);

// What a message takes on the wire: its serialized frames and 5 bytes each.
uint64_t WireBytes(const Message& message, uint32_t chunk_bytes);

class Assembler {
 public:
  // A message of more payload bytes is refused before anything is allocated for it.
  explicit Assembler(uint64_t max_message_bytes) : max_message_bytes_(max_message_bytes) {}

  // The message whose last chunk this was. Copies the payload. kDataLoss when chunks are missing or
  // the digest does not match, kInvalidArgument for sizes that contradict each other or exceed the
  // limit. After an error the assembler must not be used again.
  std::optional<Message> Add(const Frame& frame);

  uint64_t verified() const { return verified_; }  // sequence of the last whole message
  bool inside_message() const { return started_; }
  uint64_t copied_bytes() const { return copied_bytes_; }

 private:
  void Begin(const Frame& frame);
  void CheckContinues(const Frame& frame) const;
  void Append(ByteSpan piece);
  Message End(const Frame& frame);

  const uint64_t max_message_bytes_;
  uint64_t verified_ = 0;
  uint64_t copied_bytes_ = 0;
  bool started_ = false;
  // Of the message begun.
  Frame first_;  // fields only
  Message message_;
  std::vector<SectionShape> shapes_;
  uint32_t next_index_ = 0;
  uint64_t left_ = 0;  // payload bytes to come
  size_t section_ = 0;
  std::unique_ptr<DigestStream> digest_;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_CHUNKER_H_
