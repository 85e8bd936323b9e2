#ifndef AMAQ_QUANT_CODERS_TILES_H_
#define AMAQ_QUANT_CODERS_TILES_H_

// A token's channels in tiles, each with a range of its own: what `group` and `tahquant` write. The
// codes of a tile are packed along the channels, 8 codes of n bits in n bytes. Thread-safety: pure
// functions. Exactness: bytes are the same on every machine. Source: docs/formats/tiles.md (our
// choice of layout and rounding).

#include <cstdint>
#include <span>
#include <vector>

#include "quant/coder.h"

namespace amaq::quant {

// lo and step are bf16 numbers; a code q means lo + q * step. step 0: all values are lo.
struct TileRange {
  float lo = 0;
  float step = 0;
};

// Of extremes lo <= hi (finite). May hold infinities: see TileIsFinite.
TileRange MakeTileRange(float lo, float hi, uint8_t width);
// Every code decodes to a finite number, and so does any sum of `terms` of them.
bool TileIsFinite(const TileRange& range, uint8_t width, uint32_t terms);

inline constexpr uint8_t kNoPivot = 0xff;

// The coded rows of a message, cut into tiles: what crosses beside widths.
struct TilePlan {
  size_t tile_size = 0;  // channels; the last tile of a token may be shorter
  size_t channels = 0;
  std::vector<uint8_t> row_widths;  // [R] of the coded rows
  std::vector<uint8_t> pivots;      // [R * tiles]; empty: no tile is transformed

  size_t tiles() const { return (channels + tile_size - 1) / tile_size; }
  size_t SizeOf(size_t tile) const;
  uint8_t PivotOf(size_t row, size_t tile) const {
    return pivots.empty() ? kNoPivot : pivots[row * tiles() + tile];
  }
  uint64_t CodesBytes() const;
};

// Codes along the channels: 8 codes of `width` bits in `width` bytes, the last 8 filled up with 0.
inline size_t RunBytes(size_t count, uint8_t width) { return (count + 7) / 8 * width; }
void PackRun(std::span<const uint8_t> codes, uint8_t width, uint8_t* out);
void UnpackRun(const uint8_t* in, uint8_t width, std::span<uint8_t> codes);

// A kScales section of `count` tiles. Errors: kDataLoss for another size, a lo that is not finite
// and a step that is none.
std::vector<TileRange> ReadScales(const std::vector<Section>& sections, size_t count);

// Rows of a matrix that are not sinks. Errors: kInvalidArgument for a plan that does not fit.
std::vector<uint32_t> CodedRowsOf(const RowPlan& rows, int64_t num_rows);

// Sink rows as bf16: the kSinkRows section of docs/formats/octet.md.
Bytes WriteSinks(std::span<const float> rows, size_t channels);  // rows [sinks, H], finite
// Checks the section; the rows come back as [sinks, H].
std::vector<float> ReadSinks(const std::vector<Section>& sections, size_t sinks, size_t channels);

// values [R, H]: the coded rows, transformed where the plan says so; coded [R]: their places in the
// message. Appends kScales and kCodes. Errors: NonFiniteError for a range that overflows.
void WriteTiles(const TilePlan& plan, std::span<const float> values,
                std::span<const uint32_t> coded, const MessageContext& context,
                std::vector<Section>* sections);
// The reverse, values [R, H]. Errors: kDataLoss.
std::vector<float> ReadTiles(const TilePlan& plan, const std::vector<Section>& sections);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_CODERS_TILES_H_
