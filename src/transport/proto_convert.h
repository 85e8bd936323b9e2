#ifndef AMAQ_TRANSPORT_PROTO_CONVERT_H_
#define AMAQ_TRANSPORT_PROTO_CONVERT_H_

// OpenRequest and OpenReply <-> split_learning.proto, field by field. Pure functions.

#include <cstdint>

#include "transport/open.h"

namespace amaq::v1 {
class OpenRequest;
class OpenReply;
}  // namespace amaq::v1

namespace amaq::transport {

void ToProto(const OpenRequest& request, v1::OpenRequest* out);
OpenRequest FromProto(const v1::OpenRequest& in);
void ToProto(const OpenReply& reply, v1::OpenReply* out);  // `understood` is left alone
OpenReply FromProto(const v1::OpenReply& in);

// XXH3-64 of the request's own serialization: equal at both ends only if both know the same fields.
uint64_t UnderstoodDigest(const OpenRequest& request);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_PROTO_CONVERT_H_
