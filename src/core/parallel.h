#ifndef AMAQ_CORE_PARALLEL_H_
#define AMAQ_CORE_PARALLEL_H_

// A loop whose turns do not depend on each other, on several threads. Source: our choice.

#include <cstddef>
#include <functional>

namespace amaq {

// Calls body(0)...body(count - 1) once each, lower ones started first, on at most `max_threads`
// threads (the caller's is one of them, the others live as long as the call; with fewer where the
// system gives no more), and returns when all are done. What bodies wrote can be read then. Errors:
// the exception of the lowest turn that throws; all turns below it were run, of those above it
// some. So the outcome is the same on any number of threads.
void ParallelFor(size_t count, size_t max_threads, const std::function<void(size_t)>& body);

}  // namespace amaq

#endif  // AMAQ_CORE_PARALLEL_H_
