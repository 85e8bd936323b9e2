#ifndef AMAQ_TRANSPORT_ENDPOINT_H_
#define AMAQ_TRANSPORT_ENDPOINT_H_

// The server's end as the transport sees it: implemented by server/, called by grpc_service and
// inproc_link. Errors thrown here travel to the client with their code and sentence.

#include <functional>
#include <memory>
#include <string>

#include "core/section.h"
#include "transport/message.h"
#include "transport/open.h"

namespace amaq::transport {

// One client's half of a model. Lane-bound: the transport calls it from the compute lane of the
// session's exchange, or, for the adapter calls, while no message is being worked on.
class Session {
 public:
  using Reply = std::function<void(Message)>;

  virtual ~Session() = default;
  // May call `reply` zero or more times before it returns.
  virtual void OnMessage(Message message, const Reply& reply) = 0;
  virtual void PutAdapter(ByteSpan adapter) = 0;  // before step 0 only
  virtual Bytes FetchAdapter() = 0;

  // The run measures its links: each message is to be acknowledged as soon as it has come, and
  // OnDownloadRate is called with what the client's acknowledgements tell, before OnMessage.
  virtual bool measures_links() const { return false; }
  virtual void OnDownloadRate(double /*bytes_per_second*/) {}
};

// Thread-safe.
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  virtual OpenReply Open(const OpenRequest& request) = 0;
  // kNotFound for an unknown id, kAborted for another epoch. Shared: a stream may outlive Close.
  virtual std::shared_ptr<Session> Find(const std::string& session_id, uint32_t epoch) = 0;
  // By the client's wish, and by the transport when the session's exchange ended without it (there
  // is no resume yet). kNotFound for an unknown id.
  virtual void Close(const std::string& session_id) = 0;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_ENDPOINT_H_
