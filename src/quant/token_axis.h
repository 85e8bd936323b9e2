#ifndef AMAQ_QUANT_TOKEN_AXIS_H_
#define AMAQ_QUANT_TOKEN_AXIS_H_

// quant.axis: token: widths and ranges belong to tokens. The layout of the coded rows of x [N, H]
// is the usual layout (codec.h) of their transpose: channels take the place of rows, eight to an
// octet, coded tokens in row order that of channels. Sink rows cross as before, whole. Pure
// functions. Source: widths per token are AMAQ's (arXiv 2510.05468), by position in the sequence;
// the layout is our choice (docs/formats/gate.md).

#include <cstdint>
#include <span>
#include <vector>

#include "quant/codec.h"

namespace amaq::quant {

// Position in its segment of each row.
std::vector<uint32_t> PositionsOfRows(std::span<const uint32_t> segments);
// Width of each row: that of its position; positions past the last known one have its width.
// by_position is not empty.
std::vector<uint8_t> WidthsOfRows(std::span<const uint8_t> by_position,
                                  std::span<const uint32_t> positions);

// As Encode and Decode; widths [N], one a row; those of sink rows are not read. Element (row t,
// channel c) rounds stochastically with counter c * M + (place of t among the M coded rows).
// range delayed is refused: tokens of two messages have nothing in common.
std::vector<Section> EncodeByToken(const MatrixView& x, std::span<const uint8_t> widths,
                                   const RowPlan& rows, const EncodeOptions& options);
void DecodeByToken(const std::vector<Section>& sections, std::span<const uint8_t> widths,
                   const RowPlan& rows, int64_t num_rows, int64_t channels, std::span<float> out);

// Rows that are not sinks, ascending: the order of widths in such a message.
std::vector<uint32_t> CodedRowNumbers(std::span<const uint32_t> sink_rows, int64_t num_rows);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_TOKEN_AXIS_H_
