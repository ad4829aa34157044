// The profile page without its data: files beside this one, built in.
#pragma once

#include <string_view>

namespace stithy::profiling {

// {{nonce}}, {{title}}, {{style}}, {{data}} and {{script}} stand for what the page is made of.
extern const std::string_view kPageHtml;
extern const std::string_view kPageStyle, kPageScript;

}  // namespace stithy::profiling
