#ifndef AMAQ_QUANT_C_API_AMAQ_CODEC_H_
#define AMAQ_QUANT_C_API_AMAQ_CODEC_H_

/* The codec for C and everything that speaks C: a tensor x [rows, channels] to the sections of
 * docs/formats/octet.md and back. The same bytes as the C++ functions of quant/codec.h, which these
 * call.
 * Ownership: the caller owns all memory; nothing is kept after a call. Thread-safety: functions
 * without state, safe at the same time on different buffers. Errors: a status, and one sentence
 * in `error` (at most error_bytes with its final 0; error may be NULL). No exception leaves. On an
 * error no output is written but the sentence.
 *
 *   amaq_shape shape = {rows, channels, widths, NULL, 0};
 *   amaq_sections out = {{0}};
 *   amaq_encode_bound(&shape, &out, error, sizeof(error));        (sets the three .size)
 *   out.ranges.data = malloc(out.ranges.capacity = out.ranges.size); ... sink_rows, codes alike
 *   amaq_encode(x, AMAQ_FP32, &shape, NULL, &out, error, sizeof(error));
 *   amaq_decode(&out, &shape, decoded, rows * channels, error, sizeof(error));
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a struct or a function changes its meaning; amaq_abi_version() is the library's. */
#define AMAQ_ABI_VERSION 1
int amaq_abi_version(void);

/* C has no using, and its names are in one space. */
/* NOLINTBEGIN(modernize-use-using, readability-identifier-naming) */

/* The canonical RPC codes that can occur; never renumbered. */
typedef enum amaq_status {
  AMAQ_OK = 0,
  AMAQ_INVALID_ARGUMENT = 3,
  AMAQ_RESOURCE_EXHAUSTED = 8, /* a buffer is too small, or memory ran out */
  AMAQ_INTERNAL = 13,
  AMAQ_DATA_LOSS = 15 /* sections that no encoder writes */
} amaq_status;

typedef enum amaq_dtype { AMAQ_FP32 = 1, AMAQ_BF16 = 2, AMAQ_FP16 = 3 } amaq_dtype;
typedef enum amaq_range { AMAQ_MINMAX = 1, AMAQ_ABSMAX = 2 } amaq_range;
typedef enum amaq_rounding { AMAQ_NEAREST_EVEN = 1, AMAQ_STOCHASTIC = 2 } amaq_rounding;

typedef struct amaq_shape {
  uint64_t rows;             /* below 2^32 */
  uint64_t channels;         /* 1 to 2^32 - 1 */
  const uint8_t* widths;     /* [channels], each 0 to 8 */
  const uint32_t* sink_rows; /* [num_sink_rows], ascending; may be NULL when there are none */
  size_t num_sink_rows;
} amaq_shape;

typedef struct amaq_options {
  amaq_range range;
  amaq_rounding rounding;
  uint64_t rounding_key;   /* of stochastic rounding */
  const uint32_t* row_ids; /* [rows] of the whole micro-batch, or NULL: 0, 1, 2, ... */
} amaq_options;

typedef struct amaq_buffer {
  uint8_t* data;
  size_t capacity; /* bytes at data */
  size_t size;     /* bytes in use */
} amaq_buffer;

typedef struct amaq_sections {
  amaq_buffer ranges;    /* kRanges */
  amaq_buffer sink_rows; /* kSinkRows; size 0: there is none */
  amaq_buffer codes;     /* kCodes */
} amaq_sections;

/* Sets the three sizes to what amaq_encode needs at most; data and capacity are left alone. */
amaq_status amaq_encode_bound(const amaq_shape* shape, amaq_sections* sections, char* error,
                              size_t error_bytes);

/* x [rows, channels] row-major. options may be NULL: minmax, nearest even. Writes the three
 * buffers and their sizes. Cost O(rows * channels). */
amaq_status amaq_encode(const void* x, amaq_dtype dtype, const amaq_shape* shape,
                        const amaq_options* options, amaq_sections* sections, char* error,
                        size_t error_bytes);

/* out [rows, channels] row-major, every row written. out_count must be rows * channels. */
amaq_status amaq_decode(const amaq_sections* sections, const amaq_shape* shape, float* out,
                        size_t out_count, char* error, size_t error_bytes);

/* What the sections hold: lo and step of each channel [channels], and the codes of the rows that
 * are no sink rows [rows - num_sink_rows, channels]. Each of the three may be NULL. */
amaq_status amaq_inspect(const amaq_sections* sections, const amaq_shape* shape, float* lo,
                         float* step, uint8_t* codes, char* error, size_t error_bytes);

/* NOLINTEND(modernize-use-using, readability-identifier-naming) */

#ifdef __cplusplus
}
#endif

#endif  // AMAQ_QUANT_C_API_AMAQ_CODEC_H_
