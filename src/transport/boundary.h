#ifndef AMAQ_TRANSPORT_BOUNDARY_H_
#define AMAQ_TRANSPORT_BOUNDARY_H_

// Where exceptions of a session become what the peer hears: an Error passes as it is, bad_alloc is
// kResourceExhausted, everything else kInternal with a plain sentence (its text goes to the log,
// not to the peer). Pure but for the log.

#include <exception>
#include <string_view>

#include "core/error.h"

namespace amaq::transport {

// `doing` completes "the server failed at ...": a message's name or a call.
Error ToError(std::exception_ptr exception, std::string_view doing);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_BOUNDARY_H_
