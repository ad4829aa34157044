// A mistake must be refused with an Error that says what is wrong.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "engine/core/error.h"

namespace stithy {

// part: what "where: message" must contain.
inline void check_error(const std::string& part, const std::function<void()>& mistake) {
  try {
    mistake();
    FAIL_CHECK("no objection: " << part);
  } catch (const Error& error) {
    CHECK_MESSAGE((error.where() + ": " + error.message()).find(part) != std::string::npos, error.what());
  }
}

}  // namespace stithy
