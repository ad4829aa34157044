#include "nn/gzip.h"

#include <zlib.h>

#include <algorithm>

#include "engine/core/error.h"

namespace stithy {

std::string read_gzip_or_plain(const std::string& path, uint64_t limit) {
  std::string bytes = read_file(path, limit);
  return bytes.starts_with("\x1f\x8b") ? gunzip(bytes, limit, path) : bytes;
}

std::string gunzip(std::string_view bytes, uint64_t limit, const std::string& where) {
  z_stream stream{};
  if (inflateInit2(&stream, MAX_WBITS + 16) != Z_OK) throw Error(where, "zlib cannot start");
  struct End {
    z_stream* stream;
    ~End() { inflateEnd(stream); }
  } const end{&stream};

  std::string result, block(1 << 16, '\0');
  auto* next = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  size_t left = bytes.size();
  for (bool ended = false; !ended;) {
    const uInt given = static_cast<uInt>(std::min<size_t>(left, 1u << 30));
    stream.next_in = next;
    stream.avail_in = given;
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    const int status = inflate(&stream, Z_NO_FLUSH);
    const size_t used = given - stream.avail_in, made = block.size() - stream.avail_out;
    next += used;
    left -= used;
    if (made > limit - result.size())
      throw Error(where, cat("inflates to more than the limit of ", format_bytes(limit)));
    result.append(block, 0, made);
    if (status == Z_STREAM_END) {
      ended = left == 0;
      if (!ended && inflateReset(&stream) != Z_OK) throw Error(where, "zlib cannot start again");
    } else if (status == Z_BUF_ERROR || (status == Z_OK && left == 0 && made == 0)) {
      throw Error(where, "the gzip data ends early", "is the download complete?");
    } else if (status != Z_OK) {
      throw Error(where, cat("the gzip data is broken: ", stream.msg ? stream.msg : "zlib gives no reason"));
    }
  }
  return result;
}

}  // namespace stithy
