#ifndef AMAQ_CORE_THREAD_ANNOTATIONS_H_
#define AMAQ_CORE_THREAD_ANNOTATIONS_H_

// Clang's thread-safety attributes; empty for other compilers.

#if defined(__clang__)
#define AMAQ_ANNOTATION(x) __attribute__((x))
#else
#define AMAQ_ANNOTATION(x)
#endif

#define AMAQ_CAPABILITY(x) AMAQ_ANNOTATION(capability(x))
#define AMAQ_SCOPED_CAPABILITY AMAQ_ANNOTATION(scoped_lockable)
#define AMAQ_GUARDED_BY(x) AMAQ_ANNOTATION(guarded_by(x))
#define AMAQ_REQUIRES(...) AMAQ_ANNOTATION(requires_capability(__VA_ARGS__))
#define AMAQ_ACQUIRE(...) AMAQ_ANNOTATION(acquire_capability(__VA_ARGS__))
#define AMAQ_RELEASE(...) AMAQ_ANNOTATION(release_capability(__VA_ARGS__))
#define AMAQ_EXCLUDES(...) AMAQ_ANNOTATION(locks_excluded(__VA_ARGS__))

#endif  // AMAQ_CORE_THREAD_ANNOTATIONS_H_
