/* The worked example of docs/formats/octet.md through the C interface, as C99. */

#include <amaq_codec.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  static const float x[9] = {0, -1, 1000.5f, 1, 0.5f, 1000.75f, 7, 2, 1001};
  static const uint8_t widths[3] = {3, 2, 2};
  static const uint8_t codes_wanted[7] = {0xc8, 0x01, 0x00, 0x38, 0x00, 0x34, 0x00};
  uint8_t ranges[64], codes[64];
  float decoded[9];
  char error[200] = "";
  amaq_shape shape = {3, 3, widths, NULL, 0};
  amaq_sections sections = {{ranges, sizeof(ranges), 0}, {NULL, 0, 0}, {codes, sizeof(codes), 0}};

  if (amaq_abi_version() != AMAQ_ABI_VERSION ||
      amaq_encode(x, AMAQ_FP32, &shape, NULL, &sections, error, sizeof(error)) != AMAQ_OK ||
      amaq_decode(&sections, &shape, decoded, 9, error, sizeof(error)) != AMAQ_OK) {
    fprintf(stderr, "from_c: %s\n", error);
    return 1;
  }
  if (sections.codes.size != sizeof(codes_wanted) ||
      memcmp(codes, codes_wanted, sizeof(codes_wanted)) != 0 || decoded[4] != 1.0f) {
    fprintf(stderr, "from_c: other bytes than those of the format page\n");
    return 1;
  }
  return 0;
}
