#ifndef AMAQ_CORE_HOST_DEVICE_H_
#define AMAQ_CORE_HOST_DEVICE_H_

// Marks a function that nvcc compiles for the GPU as well; nothing for other compilers.
// The CPU runs the very same functions in its tests.

#if defined(__CUDACC__)
#define AMAQ_HOST_DEVICE __host__ __device__
#else
#define AMAQ_HOST_DEVICE
#endif

#endif  // AMAQ_CORE_HOST_DEVICE_H_
