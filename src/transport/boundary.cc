#include "transport/boundary.h"

#include <new>

#include "core/log.h"

namespace amaq::transport {

Error ToError(std::exception_ptr exception, std::string_view doing) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return {Code::kResourceExhausted, StrCat("the server ran out of memory at ", doing)};
  } catch (const std::exception& other) {
    AMAQ_LOG(kError, "failed at ", doing, ": ", other.what());
    return {Code::kInternal, StrCat("the server failed at ", doing, "; its log says why")};
  } catch (...) {
    AMAQ_LOG(kError, "failed at ", doing, ": an exception of unknown type");
    return {Code::kInternal, StrCat("the server failed at ", doing, "; its log says why")};
  }
}

}  // namespace amaq::transport
