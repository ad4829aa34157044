// Pictures that a run shows: small images side by side, values as colours, boxes and labels. An image is u8,
// [height, width] or [height, width, 3]; what is made here is [height, width, 3]. Error is thrown, named
// after the function, for anything else and for an image without pixels.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "engine/core/array.h"
#include "nn/box.h"

namespace stithy {

using Colour = std::array<uint8_t, 3>;  // red, green, blue

inline constexpr Colour kBlack{0, 0, 0}, kWhite{255, 255, 255}, kSlate{24, 30, 40};

// Each pixel becomes scale x scale of them.
Array enlarged(const Array& image, int64_t scale);

// Images in rows of `columns`, each enlarged, `gap` pixels apart and away from the border. Smaller ones stand
// in the middle of cells that the largest one fills. Throws Error when there is no image.
Array contact_sheet(std::span<const Array> images, int64_t columns, int64_t scale = 1, int64_t gap = 2,
                    Colour background = kSlate);

// The values, f32 [height, width], in the colours of viridis (van der Walt and Smith 2015), from dark blue at
// `low` to yellow at `high`; values beyond are clamped, NaN is grey. Without bounds they are the least and
// the largest value.
Array heat_map(const Array& values, std::optional<float> low = {}, std::optional<float> high = {});

// (1 - alpha) image + alpha heat, of two images of one height and width; alpha 0 to 1.
Array overlay(const Array& image, const Array& heat, double alpha = 0.6);

// The frame of a box whose corners are rounded, `thickness` pixels inwards; what lies outside of the image is
// left out. `image` is [height, width, 3].
void draw_box(Array& image, const Box& box, Colour colour, int64_t thickness = 1);

// Letters of 5 x 7 pixels, 6 pixels apart, times `scale`; (x, y) is the upper left corner. Capitals stand for
// small letters, a blank for what is not drawn. `image` is [height, width, 3].
inline constexpr int64_t kTextWidth = 6, kTextHeight = 7;
void draw_text(Array& image, int64_t x, int64_t y, std::string_view text, Colour colour = kWhite,
               int64_t scale = 1);

// The image under a line of text, centred and cut where it is too long.
Array labelled(const Array& image, std::string_view text, Colour colour = kWhite, Colour background = kSlate);

}  // namespace stithy
