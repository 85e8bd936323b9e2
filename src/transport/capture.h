#ifndef AMAQ_TRANSPORT_CAPTURE_H_
#define AMAQ_TRANSPORT_CAPTURE_H_

// wire.capture_dir: each message that crosses a link as a file of its own, for inspection and
// tests. A file is one uncut amaq.v1.Frame (docs/formats/frame.md), so that any protobuf tool reads
// it. Thread-safe: two messages with one name have the same bytes.

#include <string>

#include "transport/message.h"
#include "transport/traffic.h"

namespace amaq::transport {

class Capture {
 public:
  // An empty `dir` captures nothing. Makes the folder; kUnavailable when that fails.
  explicit Capture(std::string dir);

  // PROGRESS messages are left out. kUnavailable when the file cannot be written.
  void Store(const Message& message, Way way) const;

 private:
  const std::string dir_;
};

// "step00000003.attempt0.mb0001.FORWARD.up.frame", "request00000007.EVALUATE.down.frame".
std::string CaptureName(const MessageKey& key, Way way);

// The bytes of such a file: a message as one frame, and back. `name` stands in errors.
// Errors: kUnavailable for a message that is too large for one frame; kDataLoss or
// kInvalidArgument for bytes that are not a message.
Bytes SerializeCapture(const Message& message);
Message ParseCapture(ByteSpan bytes, const std::string& name);

// kNotFound when the file cannot be read, kDataLoss or kInvalidArgument when it is not a message.
Message ReadCapture(const std::string& path);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_CAPTURE_H_
