// Files that save time and may vanish: what is computed again without them. Nothing here throws on account of
// a file or folder: a cache that is missing, unwritable, corrupted, truncated or foreign reads as absent.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace stithy {

// STITHY_CACHE, else $XDG_CACHE_HOME/stithy, else ~/.cache/stithy. Empty: no caching, because STITHY_CACHE is
// set to "" or "off", or because there is no home.
std::string cache_folder();

// One file of the cache, named after its `kind` ("pipelines": letters, digits and dashes) and a hash of its
// `key`: all that the content depends on and the file does not hold, such as device UUID, driver version and
// shader hash. The key stands in the file too and is compared, so that no other content is ever returned.
class CacheFile {
 public:
  CacheFile(std::string kind, std::string key);

  // The content; none when there is no valid file of this key, or when it is larger than `limit` bytes.
  std::optional<std::string> read(uint64_t limit = uint64_t{256} << 20) const;
  // Replaces the content with what `merge` makes of the present one (none: there is no valid file). Other
  // processes and threads that update wait meanwhile, so that nothing they add is lost. False when the folder
  // cannot be written; that is said on stderr, once a process. Exceptions out of `merge` pass.
  bool update(const std::function<std::string(const std::optional<std::string>&)>& merge) const;
  // Where it lies; empty without a cache folder.
  std::string path() const;

 private:
  std::string kind_, key_;
};

}  // namespace stithy
